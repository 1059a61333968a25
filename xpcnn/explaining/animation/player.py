"""The style and the script of an animation in HTML.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from xpcnn._markup import SANS, variables

LIGHT = {
    "page": "#ffffff", "ink": "#1a1a1a", "soft": "#5c6470", "line": "#b4bac4",
    "padding": "#eceef1", "window": "#ffe2a8", "window-line": "#b36b00",
    "result": "#bfe3f7", "result-line": "#0072b2", "filter": "#c5eadb", "filter-line": "#007a59",
    "best": "#f7c3a5", "best-line": "#b03a00",
}  # fmt: skip
DARK = {
    "page": "#15181d", "ink": "#eceff4", "soft": "#a3acba", "line": "#4b535f",
    "padding": "#252a31", "window": "#5a3f0c", "window-line": "#e69f00",
    "result": "#123f5c", "result-line": "#56b4e9", "filter": "#0d4436", "filter-line": "#2fbf97",
    "best": "#6b2a0d", "best-line": "#f08a52",
}  # fmt: skip


_D = ".xpcnn-animation-drawing "
STYLE = (
    variables("xpcnn-animation", LIGHT, DARK) + f"{_D}text{{fill:var(--xp-ink);font-family:{SANS}}}"
    f"{_D}.page{{fill:var(--xp-page)}}"
    f"{_D}text.k,{_D}.line{{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',"
    "'Liberation Mono',monospace;font-size:12px}"
    f"{_D}text.k{{text-anchor:middle}}{_D}rect.k{{fill:none;stroke:var(--xp-line)}}"
    f"{_D}text.l{{fill:var(--xp-soft);font-size:11px}}{_D}text.d{{fill:var(--xp-soft)}}"
    f"{_D}rect.d{{fill:var(--xp-padding)}}{_D}rect.e{{stroke-dasharray:2 2}}"
    f"{_D}rect.f{{fill:var(--xp-filter);stroke:var(--xp-filter-line)}}"
    f"{_D}rect.w{{fill:var(--xp-window);stroke:var(--xp-window-line)}}"
    f"{_D}rect.b{{fill:var(--xp-best);stroke:var(--xp-best-line);stroke-width:2}}"
    f"{_D}rect.r{{fill:var(--xp-result);stroke:var(--xp-result-line);stroke-width:2}}"
    f"{_D}text.r,{_D}text.b{{font-weight:700}}"
    f"{_D}.title{{font-size:15px;font-weight:600}}{_D}.name{{font-size:13px;font-weight:600}}"
    f"{_D}.note{{font-size:13px;fill:var(--xp-soft)}}{_D}.line{{font-size:13px}}"
    f"{_D}.caption{{font-size:14px}}"
)

CONTROLS = (
    ".xpcnn-animation{color:var(--xp-ink);background:var(--xp-page);max-width:100%}"
    ".xpcnn-animation svg{display:block;max-width:100%;height:auto}"
    ".xpcnn-animation .bar{display:flex;gap:8px;align-items:center;padding:6px 14px;"
    "box-sizing:border-box;max-width:100%}"
    ".xpcnn-animation .bar input{flex:1;min-width:60px;accent-color:var(--xp-result-line)}"
    ".xpcnn-animation .bar button{font:13px system-ui,sans-serif;color:var(--xp-ink);"
    "background:var(--xp-padding);border:1px solid var(--xp-line);border-radius:4px;"
    "padding:3px 10px;cursor:pointer;white-space:nowrap}"
    ".xpcnn-animation .bar output{font:13px system-ui,sans-serif;color:var(--xp-ink);"
    "min-width:4em;text-align:right}"
)

SCRIPT = """(function () {
  var data = DATA;
  var root = document.getElementById(NAME);
  if (!root || !window.atob || !window.TextDecoder) return;
  var steps = data.steps, words = data.words, last = steps.length - 1;
  var url = root.querySelector("img").src;
  var bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), function (c) {
    return c.charCodeAt(0);
  });
  var holder = document.createElement("div");
  holder.innerHTML = new TextDecoder().decode(bytes);
  var svg = holder.firstChild;
  var boxes = svg.querySelectorAll("rect.k"), texts = svg.querySelectorAll("text.k");
  var lines = svg.querySelectorAll("text.line"), captions = svg.querySelectorAll("text.caption");
  var first = Array.prototype.map.call(texts, function (t) {
    return [t.getAttribute("class").slice(2), t.textContent];
  });
  var now = 0, timer = null;

  function put(n, code, text) {
    boxes[n].setAttribute("class", "k " + code);
    texts[n].setAttribute("class", "k " + code);
    texts[n].textContent = text;
  }
  function write(where, parts) {
    where.forEach(function (t, n) { t.textContent = parts[n] || ""; });
  }
  function show(step) {
    step = Math.max(0, Math.min(last, step));
    if (step < now) {
      first.forEach(function (cell, n) { put(n, cell[0], cell[1]); });
      now = 0;
    }
    while (now < step) {
      now += 1;
      steps[now][0].forEach(function (change) { put(change[0], change[1], change[2]); });
    }
    write(lines, steps[now][1]);
    write(captions, steps[now][2]);
    svg.setAttribute("aria-label", steps[now][1].concat(steps[now][2]).join(" "));
    slider.value = now;
    slider.setAttribute("aria-valuetext", count());
    output.textContent = count();
  }
  function count() { return (now + 1) + " / " + (last + 1); }
  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "\\u25B6 " + words.play;
  }
  function start() {
    if (timer || !last) return;
    if (now === last) show(0);
    play.textContent = "\\u275A\\u275A " + words.pause;
    timer = setInterval(function () {
      if (!root.isConnected) return pause();
      show(now + 1);
      if (now === last) pause();
    }, 900);
  }
  function button(text, label, action) {
    var made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.title = label;
    made.addEventListener("click", action);
    bar.appendChild(made);
    return made;
  }
  function step(by) { pause(); show(now + by); }

  var style = document.createElement("style");
  style.textContent = STYLE;
  var bar = document.createElement("div");
  bar.className = "bar";
  bar.style.width = data.width + "px";
  var play = button("", words.play + " / " + words.pause, function () {
    if (timer) pause(); else start();
  });
  button("\\u2039", words.back, function () { step(-1); });
  var slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = last;
  slider.setAttribute("aria-label", words.position);
  slider.addEventListener("input", function () { pause(); show(Number(slider.value)); });
  bar.appendChild(slider);
  button("\\u203A", words.next, function () { step(1); });
  var output = document.createElement("output");
  bar.appendChild(output);
  var keys = {
    ArrowLeft: function () { step(-1); }, ArrowRight: function () { step(1); },
    Home: function () { step(-last); }, End: function () { step(last); }
  };
  root.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    var action = keys[event.key];
    if (event.key === " " && event.target.tagName !== "BUTTON") {
      action = function () { if (timer) pause(); else start(); };
    }
    if (action) { action(); event.preventDefault(); }
    event.stopPropagation();
  });
  root.replaceChildren(style, svg, bar);
  pause();
  show(0);
  var calm = window.matchMedia && matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!calm && window.IntersectionObserver) {
    var seen = new IntersectionObserver(function (entries) {
      if (!entries.some(function (entry) { return entry.isIntersecting; })) return;
      seen.disconnect();
      start();
    }, { threshold: 0.6 });
    seen.observe(svg);
  }
})();
""".replace("STYLE", '"' + CONTROLS + '"')
