// Plays one camera's live HLS. Where the picture ends, the page says why, in words.
"use strict";

(function () {
  const RETRY_MS = 2000;
  const STALLED_MS = 5000;
  const CLOCK_MS = 3000;
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
  const UNDECODED = [
    "浏览器无法解码摄像机画面，正在重试；截图和录像不受影响",
    "The browser cannot decode this camera's picture; trying again. Stills and clips are not affected.",
  ];
  const STALLED = ["画面停顿，等待新画面…", "The picture has stalled; waiting for more…"];
  const CANNOT = ["此浏览器不能播放该画面", "This browser cannot play the picture."];

  let hls = null;
  let ended = false;
  let lastTime = -1;
  // What counts is pictures on the screen: time also moves over what cannot be decoded, and with every new try.
  let lastShown = 0;
  let shownAt = performance.now();
  let clockAt = performance.now();
  let loaded = 0; // parts that came since a picture was shown

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

  function undecoded() {
    say(UNDECODED, "undecoded");
    shownAt = performance.now(); // once a try
    again();
  }

  function start() {
    if (ended) return;
    shownAt = performance.now();
    lastShown = shown();
    loaded = 0;
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
        } else undecoded();
      }
    });
    hls.on(Hls.Events.FRAG_LOADED, function () { loaded += 1; });
    hls.on(Hls.Events.LEVEL_LOADED, function (_, data) { noteIn(data.details.m3u8); });
    hls.loadSource(playlist);
    hls.attachMedia(video);
    video.play().catch(function () {}); // where autoplay is not allowed the controls are there
  }

  function startNative() {
    video.src = playlist;
    fetch(playlist).then(function (answer) { return answer.ok ? answer.text() : ""; }).then(noteIn, function () {});
    video.onerror = function () {
      const refused = video.error && video.error.code !== MediaError.MEDIA_ERR_NETWORK;
      fetch(playlist).then(
        function (answer) {
          if (!answer.ok) judged(answer.status);
          else if (refused) say(UNDECODED, "undecoded");
        },
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

  // Pictures that were shown since the page was opened.
  function shown() {
    if (!video.getVideoPlaybackQuality) return video.videoWidth > 0 ? Math.floor(video.currentTime * 1000) : 0;
    const quality = video.getVideoPlaybackQuality();
    return quality.totalVideoFrames - quality.droppedVideoFrames;
  }

  // Seconds that are there behind what is shown.
  function held() {
    const ranges = video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : 0;
  }

  // Who looked elsewhere or paused has waited for nothing.
  function anew() { shownAt = performance.now(); }
  document.addEventListener("visibilitychange", anew);
  video.addEventListener("play", anew);

  setInterval(function () {
    const now = performance.now();
    const moved = video.currentTime !== lastTime;
    const count = shown();
    // The count begins again with every try.
    const fresh = (count > lastShown || (count < lastShown && count > 0)) && video.videoWidth > 0;
    lastTime = video.currentTime;
    lastShown = count;
    if (fresh) shownAt = now;
    // A page in the background is shown nothing.
    if (!ended && !document.hidden) {
      // After an error the player calls itself paused; who pauses it by hand has a picture.
      const playing = !video.paused || video.error || video.readyState < 2;
      if (fresh && moved && !video.error) {
        message.hidden = true;
        message.dataset.kind = "";
        loaded = 0;
      } else if (playing && now - shownAt > STALLED_MS && message.dataset.kind !== "waiting") {
        // What came and is not shown cannot be decoded; what did not come is late.
        if (video.error || held() > 1 || loaded > 2) undecoded();
        else if (message.hidden) say(STALLED, "stalled");
      }
    }
    const at = pictureTime();
    const running = fresh && moved && message.hidden;
    if (at && running) {
      clock.textContent = format.format(at);
      clock.dateTime = at.toISOString();
    } else if (ended) {
      clock.textContent = "--";
      clock.removeAttribute("datetime");
    }
    if (running) clockAt = now;
    // The clock stands with the picture, and looks so.
    if (now - clockAt > CLOCK_MS) clock.dataset.stopped = "";
    else delete clock.dataset.stopped;
    delay.textContent = hls && hls.latency > 0 && message.hidden ? hls.latency.toFixed(1) + " s" : "--";
  }, 250);

  start();
})();
