// The page's words in both languages, and times as the school has them.

const WORDS = {
  title: ["录像", "Recordings"],
  signIn: ["登录", "Sign in"],
  signInWhy: [
    "查阅录像须登记姓名、单位、事由和内容（国务院令第 799 号第十六条）；以下内容写入查阅登记，不可更改。",
    "Every viewing is registered with name, unit, reason and content (State Council Order 799, Art. 16). What you write here stands in the register and cannot be changed.",
  ],
  token: ["令牌", "Token"],
  name: ["姓名", "Name"],
  unit: ["单位", "Unit"],
  reason: ["查阅事由", "Reason"],
  signOut: ["退出", "Sign out"],
  why: ["事由：{0}", "Reason: {0}"],
  whyAgain: ["今后的查阅事由", "Reason of what you look at from now on"],
  take: ["使用", "Use it"],
  cancel: ["取消", "Cancel"],
  roles: {
    guard: ["门卫", "guard"], technician: ["技术员", "technician"], inspector: ["检查人员", "inspector"], centre: ["110 中心", "110 centre"],
  },
  overview: ["各摄像机逐日留存", "What is kept, day by day"],
  periodIs: ["{0} 天", "{0} days"],
  back: ["‹ 总览", "‹ Overview"],
  dayBefore: ["前一天", "Day before"],
  dayAfter: ["后一天", "Day after"],
  date: ["日期", "Date"],
  playing: ["播放", "Playing"],
  pictureTime: ["画面时间", "Time of the picture"],
  speed: ["速度", "Speed"],
  further: ["继续播放 {0} 之后", "Go on after {0}"],
  export: ["导出", "Export"],
  from: ["从", "From"],
  to: ["到", "To"],
  here: ["取光标", "At the cursor"],
  exportReason: ["导出事由", "Reason of the export"],
  exportDo: ["导出 ZIP", "Export as ZIP"],
  stop: ["停止", "Stop"],
  noExport: ["导出由技术员或检查人员进行。", "Exports are made by a technician or an inspector."],
  estimate: ["{0}，约 {1}", "{0}, about {1}"],
  estimateLong: ["；数据较大，浏览器可能放不下，建议分段导出", "; that is much for a browser: rather take several spans"],
  tooLong: ["一次最多 6 小时，且结束时间不能在将来", "At most 6 hours at once, and none of it in the future"],
  making: ["正在合成影片…已 {0} 秒", "Making the film… {0} s"],
  fetching: ["已下载 {0} / {1}", "{0} of {1}"],
  exported: ["已下载 {0}（{1}），已记入查阅登记。", "Downloaded {0} ({1}); it stands in the register."],
  check: [
    "核验（可离线）：campus-gateway verify {0} --key 密钥 。密钥取自 110 中心收到的心跳 register.key，不要取自导出包本身。",
    "To check it, offline: campus-gateway verify {0} --key KEY. Take the key from the heartbeats at the 110 centre (register.key), not from the export itself.",
  ],
  checkWith: [
    "核验（可离线）：campus-gateway verify {0} --key {1}（本网关登记所用密钥）",
    "To check it, offline: campus-gateway verify {0} --key {1} (the key this gateway signs its register with)",
  ],
  stopped: ["已停止，未保存任何内容。", "Stopped; nothing was kept."],
  gaps: ["缺口", "Gaps"],
  noGaps: ["这一天没有缺口。", "No gaps on this day."],
  lasting: ["至今", "until now"],
  causes: {
    kept: ["已录", "kept"],
    reduced: ["降低画质", "kept, reduced"],
    camera: ["摄像机不出图", "camera sends nothing"],
    network: ["网络不通", "camera not reached"],
    gateway: ["网关未运行", "gateway not running"],
    store: ["存储故障或已满", "no room, or store failed"],
    expired: ["期满已删", "gone after its period"],
    pending: ["正在写入", "being written"],
    none: ["未录", "not recorded"],
    unaccounted: ["原因不明", "not accounted for"],
    held: ["保全", "held"],
  },
  keys: [
    "←→ 移动一分钟，↑↓ 十分钟，PgUp/PgDn 一小时，N/P 下一个/上一个缺口，回车播放。",
    "←→ a minute, ↑↓ ten, PgUp/PgDn an hour, N/P next or last gap, Enter plays.",
  ],
  stripOf: ["{0} {1} 全天 24 小时", "{0}, 24 hours of {1}"],
  daySums: ["已录 {0}（{1}），最早留存 {2}", "{0} kept ({1}); first kept minute {2}"],
  firstKept: ["最早留存 {0}", "first kept {0}"],
  nothingKept: ["尚无录像", "nothing recorded yet"],
  left: ["已不在方案中", "no longer in the plan"],
  sumCoverage: ["留存率", "Kept of what was to be"],
  sumPeriod: ["留存期", "Period"],
  sumRoom: ["空间预计", "Room lasts"],
  sumHolds: ["保全", "Holds"],
  sumRate: ["每日写入", "Written a day"],
  roomLong: ["8 天以上", "more than 8 days"],
  roomUnknown: ["尚无数据", "not known yet"],
  roomOk: ["{0} 空闲", "{0} free"],
  givingWay: ["{0} 路已降级", "{0} cameras reduced"],
  holdsNow: ["{0} 项", "{0}"],
  holdsOverdue: ["{0} 项逾期未复核", "{0} overdue for review"],
  days: ["{0} 天", "{0} days"],
  hours: ["{0} 小时", "{0} h"],
  minutes: ["{0} 分", "{0} min"],
  seconds: ["{0} 秒", "{0} s"],
  cell: ["{0}：留存 {1}", "{0}: {1} kept"],
  openDay: ["打开 {0}", "open {0}"],
  choose: ["点击色条上的一分钟即可播放。", "Choose a minute on the strip to play from there."],
  opening: ["正在打开…", "Opening…"],
  nothingThere: ["此处没有录像：{0}。", "Nothing is kept there: {0}."],
  jumped: ["此处为缺口（{0}），从 {1} 起播放。", "A gap ({0}); playing from {1}."],
  skipped: ["缺口 {0}–{1}：{2}", "Gap {0}–{1}: {2}"],
  endOfSpan: ["本次查阅的时段已播完。", "The span you opened is over."],
  cannotPlay: [
    "此浏览器不能播放这路录像（多为 H.265 编码）。录像本身完好：请导出后用 VLC 等播放器查看，或换用支持 H.265 的浏览器。",
    "This browser cannot play these recordings (most likely H.265). They are sound: export them and use a player such as VLC, or a browser that plays H.265.",
  ],
  cannotPlayGuard: [
    "此浏览器不能播放这路录像（多为 H.265 编码）。录像本身完好：请技术员导出，或换用支持 H.265 的浏览器。",
    "This browser cannot play these recordings (most likely H.265). They are sound: ask a technician for an export, or use a browser that plays H.265.",
  ],
  brokenOff: ["录像读取中断（{0}），请再点一次；若仍然如此，请告知技术员时间。", "Reading broke off ({0}): choose the minute again; if it stays so, tell the technician the time."],
  waiting: ["录像暂时读不出来（存储或网络），正在重试…", "The recording cannot be read just now (store or network); trying again…"],
  linkOver: ["播放链接已到期，请再点一次要看的时间。", "The link to play has expired: choose the minute again."],
  degraded: ["网关降级运行：{0}。录像查阅仍可使用。", "The gateway is degraded: {0}. Recordings can still be looked at."],
  noneForRole: ["此令牌（110 中心）不用于查阅录像；警情的片段在 110 平台上。", "This token (110 centre) does not open recordings; clips of an alarm are on the 110 centre's own page."],
  errors: {
    0: ["连接不上网关：检查网络后再试。", "The gateway cannot be reached: check the network and try again."],
    401: ["令牌不正确：向技术员核对后重新登录。", "This token is not known: check it with the technician and sign in again."],
    403: ["此角色无权进行该操作；需要时请联系技术员。", "Your role may not do this; ask the technician if you need it."],
    404: ["没有这段录像：换一个时间，缺口原因见色条。", "Nothing is kept of that: choose another time; the strip says why it is missing."],
    410: ["已过期或已删除：请重新选择时间。", "Expired or deleted: choose the time anew."],
    422: ["无法执行：{0}", "Not possible: {0}"],
    503: ["网关的存储或数据库暂时不可用，请 {1} 秒后再试。", "Store or database cannot be used just now; try again in {1} s."],
    other: ["网关出错（{2}）：请再试；若仍然如此，请告知技术员现在的时间。", "The gateway failed ({2}): try again; if it stays so, tell the technician the time."],
  },
};

let chinese = document.documentElement.lang !== "en";
let zone = "Asia/Shanghai";

export const isChinese = () => chinese;
export function setLanguage(toChinese) {
  chinese = toChinese;
  document.documentElement.lang = chinese ? "zh-CN" : "en";
  document.title = say("title");
  for (const one of document.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of document.querySelectorAll("[data-word-label]")) one.setAttribute("aria-label", say(one.dataset.wordLabel));
  const other = document.getElementById("language");
  other.textContent = chinese ? "English" : "中文";
  other.lang = chinese ? "en" : "zh-CN";
}
export const setZone = (name) => { zone = name; };

// A word by its key ("causes.camera" goes one deeper), with {0}, {1} … filled in.
export function say(key, ...values) {
  const [first, second] = key.split(".");
  const words = second === undefined ? WORDS[first] : WORDS[first][second];
  return words[chinese ? 0 : 1].replace(/\{(\d)\}/g, (_, number) => values[number] ?? "");
}
export const cause = (name) => say("causes." + (name in WORDS.causes ? name : "unaccounted"));
export const errorWords = (status, detail, againS) => say("errors." + (status in WORDS.errors ? status : "other"), detail, againS, status);

function parts(at) {
  const format = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  return Object.fromEntries(format.formatToParts(at).map((part) => [part.type, part.value]));
}
// The wall clock of the school: "2026-03-02T10:15:07".
export function local(at) {
  const p = parts(at);
  return `${p.year}-${p.month}-${p.day}T${p.hour}:${p.minute}:${p.second}`;
}
export const dayOf = (at) => local(at).slice(0, 10);
export const clock = (at, seconds = true) => local(at).slice(11, seconds ? 19 : 16);
// The instant (ms) at which the school's clock shows that; asked twice, because the offset may change in between.
export function instant(text) {
  const wanted = Date.parse((text.length === 10 ? text + "T00:00:00" : text.length === 16 ? text + ":00" : text) + "Z");
  let at = wanted;
  for (let turn = 0; turn < 2; turn++) at += wanted - Date.parse(local(new Date(at)) + "Z");
  return at;
}
export function dayWords(day, long = false) {
  const at = new Date(day + "T12:00:00Z");
  return new Intl.DateTimeFormat(chinese ? "zh-CN" : "en-GB", {
    timeZone: "UTC", month: long ? "long" : "short", day: "numeric", ...(long ? { year: "numeric", weekday: "short" } : {}),
  }).format(at);
}
export const nextDay = (day, by = 1) => new Date(Date.parse(day + "T12:00:00Z") + by * 86_400_000).toISOString().slice(0, 10);
export function lasts(seconds) {
  if (seconds >= 172_800) return say("days", Math.floor(seconds / 86_400));
  if (seconds >= 5400) return say("hours", (seconds / 3600).toFixed(seconds < 36_000 ? 1 : 0));
  if (seconds >= 60) return say("minutes", Math.round(seconds / 60));
  return say("seconds", Math.round(seconds));
}
export function size(bytes) {
  for (const [unit, one] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]]) if (bytes >= one) return (bytes / one).toFixed(bytes < 10 * one ? 1 : 0) + " " + unit;
  return Math.ceil(bytes / 1000) + " kB";
}
// Never rounded up to the whole: 99.97 % is not 100 %.
export const share = (part) => (part >= 1 ? "100 %" : (Math.floor(part * 1000) / 10).toFixed(1) + " %");
