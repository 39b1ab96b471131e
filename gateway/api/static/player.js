// Plays one camera's live HLS. Where the picture ends, the page says why, in words.
"use strict";

(function () {
  const RETRY_MS = 2000;
  const STALLED_MS = 5000;
  const video = document.getElementById("video");
  const message = document.getElementById("message");
  const clock = document.getElementById("clock");
  const delay = document.getElementById("delay");
  const note = document.getElementById("note");
  const playlist = video.dataset.playlist;
  const format = new Intl.DateTimeFormat("zh-CN", {
    timeZone: video.dataset.timezone, hourCycle: "h23",
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    fractionalSecondDigits: 1,
  });
  // Answers after which trying again is useless: the link itself is what does not work.
  const ENDED = {
    401: ["需要授权链接", "A signed link is needed to see this."],
    403: ["链接不完整或被改动，请使用原始链接", "The link is incomplete or was altered; use it exactly as received."],
    410: ["链接已过期或警情已结束，请索取新链接", "The link has expired or was revoked; ask for a fresh one."],
  };
  const NO_PICTURE = ["摄像机暂无画面，正在重试…", "The camera gives no picture now; trying again…"];
  const NO_H264 = [
    "该摄像机只提供 H.265 码流，浏览器无法直播；截图和录像不受影响",
    "This camera offers H.265 only, which browsers do not play live; stills and clips are not affected.",
  ];
  const NO_GATEWAY = ["连接不上学校网关，正在重试…", "The school's gateway cannot be reached; trying again…"];
  const STALLED = ["画面停顿，等待新画面…", "The picture has stalled; waiting for more…"];
  const CANNOT = ["此浏览器不能播放该画面", "This browser cannot play the picture."];

  let hls = null;
  let ended = false;
  let lastTime = -1;
  let movedAt = performance.now();

  function say(words, kind) {
    const english = document.createElement("span");
    english.lang = "en";
    english.textContent = words[1];
    message.replaceChildren(words[0], english);
    message.dataset.kind = kind;
    message.hidden = false;
  }

  // True once there is nothing more to try.
  function judged(status) {
    if (status in ENDED) {
      ended = true;
      say(ENDED[status], "ended");
      stop();
      return true;
    }
    say(status ? NO_PICTURE : NO_GATEWAY, "waiting");
    if (status === 503) explain();
    return false;
  }

  // A camera that gives a picture, and none a browser can play, is told from one that gives none.
  function explain() {
    fetch(playlist).then(function (answer) {
      if (answer.status !== 503) return null;
      return answer.json();
    }).then(function (problem) {
      if (problem && problem.playable === false && !message.hidden) say(NO_H264, "waiting");
    }).catch(function () {});
  }

  // The playlist says in a comment where its picture is not the camera's main stream.
  function noteIn(text) {
    note.hidden = !/^# note: /m.test(text || "");
  }

  function stop() {
    if (hls) {
      hls.destroy();
      hls = null;
    }
  }

  function again() {
    stop();
    if (!ended) setTimeout(start, RETRY_MS);
  }

  function start() {
    if (ended) return;
    movedAt = performance.now();
    if (window.Hls && Hls.isSupported()) startHls();
    else if (video.canPlayType("application/vnd.apple.mpegurl")) startNative();
    else say(CANNOT, "ended");
  }

  function startHls() {
    hls = new Hls({
      enableWorker: false, // the page's policy allows no blob: workers, and fragmented MP4 needs no transmuxing
      liveSyncDurationCount: 2,
      liveMaxLatencyDurationCount: 6,
      maxLiveSyncPlaybackRate: 1.25,
      backBufferLength: 30,
    });
    hls.on(Hls.Events.ERROR, function (_, data) {
      const status = data.response ? data.response.code : undefined;
      if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
        const list = data.details === "manifestLoadError" || data.details === "levelLoadError";
        if (list || status in ENDED) judged(status);
        if (data.fatal) again();
      } else if (data.fatal) {
        if (data.details === "manifestIncompatibleCodecsError" || data.details === "bufferAddCodecError") {
          ended = true;
          say(CANNOT, "ended");
          stop();
        } else again();
      }
    });
    hls.on(Hls.Events.LEVEL_LOADED, function (_, data) { noteIn(data.details.m3u8); });
    hls.loadSource(playlist);
    hls.attachMedia(video);
    video.play().catch(function () {}); // where autoplay is not allowed the controls are there
  }

  function startNative() {
    video.src = playlist;
    fetch(playlist).then(function (answer) { return answer.ok ? answer.text() : ""; }).then(noteIn, function () {});
    video.onerror = function () {
      fetch(playlist).then(
        function (answer) { if (!answer.ok) judged(answer.status); },
        function () { judged(0); },
      ).finally(again);
    };
    video.play().catch(function () {});
  }

  // The name goes to the page's own address, whose signature says by whose link it was opened.
  const viewer = document.getElementById("viewer");
  viewer.addEventListener("submit", function (event) {
    event.preventDefault();
    const registered = document.getElementById("registered");
    fetch(location.href, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: viewer.elements.name.value.trim() }),
    }).then(function (answer) {
      if (!answer.ok) throw new Error(String(answer.status));
      registered.textContent = "已登记 Registered: " + viewer.elements.name.value.trim();
      viewer.elements.name.value = "";
    }).catch(function () {
      registered.textContent = "登记失败，请重试 Not registered, try again";
    });
  });

  function pictureTime() {
    if (hls) return hls.playingDate;
    if (video.getStartDate) {
      const begin = video.getStartDate();
      if (!isNaN(begin)) return new Date(begin.getTime() + video.currentTime * 1000);
    }
    return null;
  }

  setInterval(function () {
    const now = performance.now();
    if (video.currentTime !== lastTime) {
      if (lastTime >= 0 && video.videoWidth > 0 && !ended) message.hidden = true;
      lastTime = video.currentTime;
      movedAt = now;
    } else if (!ended && !video.paused && now - movedAt > STALLED_MS && message.hidden) {
      say(STALLED, "waiting");
    }
    const at = pictureTime();
    if (at) {
      clock.textContent = format.format(at);
      clock.dateTime = at.toISOString();
    } else if (ended) {
      clock.textContent = "--";
    }
    delay.textContent = hls && hls.latency > 0 && message.hidden ? hls.latency.toFixed(1) + " s" : "--";
  }, 250);

  start();
})();
