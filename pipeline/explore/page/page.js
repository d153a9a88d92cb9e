"use strict";
// Everything that comes from the data is put into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const COLOURS = { text: "#3f78c9", image: "#c2571a", audio: "#2d8f5b", point: "#9055b8" };
const state = { facts: null, query: null, asked: 0, map: null, at: -1 };

function made(name, settings = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(settings)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

async function ask(path, body, type = "application/json") {
  const request = body === undefined ? {} : { method: "POST", headers: { "Content-Type": type }, body };
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error("The server does not answer: is `mcr serve` still running?");
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error([content.error, content.hint].filter(Boolean).join(" "));
  return content;
}

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").className = bad ? "bad" : "";
}

// What a sample looks and sounds like.
const address = (kind, item) =>
  item.upload ? `sent/${kind}/${item.upload}` : `media/${kind}/${[item.corpus, item.shard, item.key].map(encodeURIComponent).join("/")}`;

function shown(item) {
  const box = made("div", { className: "shown" });
  if (item.modality === "text") box.append(made("blockquote", {}, item.caption || item.text || item.key));
  else if (item.modality === "audio") {
    box.append(
      made("img", { className: "spectrum", loading: "lazy", alt: `Spectrogram of ${item.key || item.name}`, src: address("spectrogram", item) }),
      made("audio", { controls: true, preload: "none", src: address("sound", item), "aria-label": `Sound ${item.key || item.name}` }),
    );
  } else if (item.modality === "point") box.append(cloud(address("points", item), item.key || item.name));
  else if (item.modality === "image") box.append(made("img", { loading: "lazy", alt: item.caption || `Picture ${item.key || item.name}`, src: address("picture", item) }));
  else box.append(made("code", {}, item.key || item.name));
  for (const picture of box.querySelectorAll("img")) {
    picture.addEventListener("load", () => picture.classList.toggle("pixel", picture.naturalWidth < 100));
    picture.addEventListener("error", () => picture.replaceWith(made("small", {}, "cannot be shown")));
  }
  return box;
}

const visible = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      visible.unobserve(entry.target);
      entry.target.load();
    }
  }
});

function cloud(path, name) {
  const canvas = made("canvas", { width: 320, height: 320, tabIndex: 0, role: "img", "aria-label": `Point cloud ${name}; drag or use the arrow keys to turn it` });
  let points = null;
  let [turn, tilt] = [0.6, 0.3];
  const draw = () => {
    if (!points) return;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, 320, 320);
    const [ct, st, cu, su] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const seen = [];
    for (let i = 0; i < points.length; i += 6) {
      const x = points[i] * ct + points[i + 2] * st;
      const z = points[i + 2] * ct - points[i] * st;
      seen.push([160 + 130 * x, 160 - 130 * (points[i + 1] * cu - z * su), z * cu + points[i + 1] * su, i]);
    }
    seen.sort((a, b) => a[2] - b[2]);
    const size = points.length > 6 * 1500 ? 3 : 6;
    for (const [x, y, , i] of seen) {
      context.fillStyle = `rgb(${points.slice(i + 3, i + 6).map((c) => 255 * c).join(" ")})`;
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  };
  canvas.load = async () => {
    const answer = await fetch(path);
    if (!answer.ok) return canvas.replaceWith(made("small", {}, "cannot be shown"));
    points = new Float32Array(await answer.arrayBuffer());
    canvas.dataset.points = points.length / 6;
    draw();
  };
  // Differences of places, and not `movementX`: for a finger some browsers leave that at 0.
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held = [event.clientX, event.clientY];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held || !canvas.hasPointerCapture(event.pointerId)) return;
    turn += (event.clientX - held[0]) / 80;
    tilt = Math.max(-1.5, Math.min(1.5, tilt + (event.clientY - held[1]) / 80));
    held = [event.clientX, event.clientY];
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    if (!step) return;
    event.preventDefault();
    turn += step[0];
    tilt = Math.max(-1.5, Math.min(1.5, tilt + step[1]));
    draw();
  });
  visible.observe(canvas);
  return canvas;
}

function card(item, score, more = true) {
  const box = made("li", { className: "item" }, shown(item));
  if (item.caption && item.modality !== "text") box.append(made("p", {}, item.caption));
  box.append(made("div", { className: "row" }, made("small", {}, `${item.corpus}/${item.key}`), made("span", { className: "score" }, score)));
  if (more) box.append(made("button", { type: "button", onclick: () => look({ item: place(item), shown: item }) }, "More like this"));
  return box;
}

const place = ({ corpus, shard, key, modality }) => ({ corpus, shard, key, modality });
const checked = (id) => [...$(id).querySelectorAll("input:checked")].map((input) => input.value);

// The choices that fit together: what can be found depends on the connections, and where on both.
function choices() {
  const facts = state.facts.connections.filter((one) => checked("connections").includes(one.name));
  const kinds = [...new Set(facts.flatMap((one) => Object.keys(one.corpora)))];
  const kind = kinds.includes(checked("into")[0]) ? checked("into")[0] : kinds.includes("image") ? "image" : kinds[0];
  const into = kinds.map((name) => choice("radio", "into", name, name === kind, choices));
  $("into").replaceChildren($("into").querySelector("legend"), ...into);
  const corpora = [...new Set(facts.flatMap((one) => one.corpora[kind] || []))];
  const before = new Set(checked("corpora"));
  const kept = corpora.some((name) => before.has(name));
  $("corpora").replaceChildren($("corpora").querySelector("legend"), ...corpora.map((name) => choice("checkbox", "corpora", name, !kept || before.has(name), repeat)));
  repeat();
}

function choice(type, group, value, on, changed, text = value) {
  const input = made("input", { type, name: group, value, checked: on, onchange: changed });
  return made("label", {}, input, text);
}

const repeat = () => state.query && look(state.query);

async function look(query) {
  const connections = checked("connections").slice(0, 4);
  const [into] = checked("into");
  if (!connections.length) return say("Choose a connection.", true);
  state.query = query;
  const number = ++state.asked;
  show("search");
  $("query").replaceChildren(...(query.shown ? [shown(query.shown), made("span", {}, `Like ${query.shown.key || query.shown.name}`)] : []));
  const { text, upload, item } = query;
  const asked = Object.fromEntries(Object.entries({ text, upload, item }).filter(([, value]) => value));
  say("Searching ...");
  try {
    const body = { ...asked, connections, into, corpora: checked("corpora"), count: Number($("count").value) || 12 };
    const answer = await ask("api/search", JSON.stringify(body));
    if (number !== state.asked) return;
    $("results").replaceChildren(
      ...answer.found.map((found) =>
        made("section", { className: "found" }, made("h2", {}, found.connection, " ", made("small", {}, `through ${found.through}, ${found.milliseconds} ms`)), made("ol", {}, ...found.results.map((one) => card(one, one.score.toFixed(3))))),
      ),
    );
    say(`${answer.found.map((found) => `${found.results.length} by ${found.connection}`).join(", ")}`);
    $("partners").hidden = Boolean(item);
    $("memories").replaceChildren();
    if ($("partners").open && !item) partners();
  } catch (error) {
    if (number === state.asked) {
      $("results").replaceChildren();
      say(error.message, true);
    }
  }
}

async function partners() {
  if (!state.query || $("memories").childElementCount) return;
  const { text, upload } = state.query;
  const boxes = [];
  const notes = [];
  for (const connection of checked("connections")) {
    try {
      const answer = await ask("api/partners", JSON.stringify({ ...(upload ? { upload } : { text }), connection }));
      if (answer.note) notes.push(answer.note);
      for (const memory of answer.memories) {
        const title = made("h2", {}, `${connection}, ${memory.link}: from ${memory.space}`, made("small", {}, ` temperature ${memory.temperature}`));
        boxes.push(made("section", { className: "memory" }, title, made("ol", {}, ...memory.results.map((one) => card(one, `${(100 * one.score).toFixed(1)} %`, false)))));
      }
    } catch (error) {
      notes.push(error.message);
    }
  }
  $("partners-note").textContent = notes.join(" ");
  $("memories").replaceChildren(...boxes);
}

async function send(file) {
  const ending = file.name.split(".").pop().toLowerCase();
  const modality = Object.keys(state.facts.endings).find((name) => state.facts.endings[name].includes(ending));
  if (modality && file.size > state.facts.largest[modality]) return say(`${file.name} has more than ${state.facts.largest[modality].toLocaleString("en")} bytes.`, true);
  say(`Reading ${file.name} ...`);
  try {
    const answer = await ask(`api/upload?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream");
    const text = answer.modality === "text" ? await file.text() : "";
    await look({ upload: answer.upload, shown: { ...answer, text } });
  } catch (error) {
    say(error.message, true);
  }
}

// The map.
async function map() {
  const name = $("map-connection").value;
  if (state.map?.connection === name) return draw();
  $("map-note").textContent = "Computing ...";
  try {
    state.map = await ask(`api/map?connection=${encodeURIComponent(name)}`);
  } catch (error) {
    $("map-note").textContent = error.message;
    return;
  }
  state.at = -1;
  const kinds = [...new Set(state.map.places.map((one) => one.item.modality))];
  const keys = kinds.map((kind) => made("span", { className: "key" }, made("i", { className: kind in COLOURS ? kind : "other" }), kind));
  $("map-note").replaceChildren(...keys, `${state.map.places.length.toLocaleString("en")} items; two directions with ${(100 * state.map.explained).toFixed(0)} % of the variance, each modality centred.`);
  draw();
}

const spot = (one, canvas) => [(0.5 + 0.47 * one.x) * canvas.width, (0.5 - 0.47 * one.y) * canvas.height];

function draw() {
  const canvas = $("plane");
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  context.globalAlpha = 0.7;
  for (const one of state.map?.places || []) {
    const [x, y] = spot(one, canvas);
    context.fillStyle = COLOURS[one.item.modality] || "#7a7a7a";
    context.fillRect(x - 2 * scale, y - 2 * scale, 4 * scale, 4 * scale);
  }
  if (state.at >= 0) {
    const [x, y] = spot(state.map.places[state.at], canvas);
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(document.body).color;
    context.lineWidth = 2 * scale;
    context.strokeRect(x - 6 * scale, y - 6 * scale, 12 * scale, 12 * scale);
  }
}

function at(index) {
  if (index === state.at || !state.map) return;
  state.at = index;
  const { item } = state.map.places[index];
  $("near").replaceChildren(made("div", {}, card(item, "")));
  draw();
}

function nearest(event) {
  const canvas = $("plane");
  const box = canvas.getBoundingClientRect();
  const [x, y] = [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  let [best, far] = [-1, (14 * (window.devicePixelRatio || 1)) ** 2];
  (state.map?.places || []).forEach((one, index) => {
    const [px, py] = spot(one, canvas);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < far) [best, far] = [index, distance];
  });
  return best;
}

function show(view) {
  for (const name of ["search", "map"]) {
    $(name).hidden = name !== view;
    $(`show-${name}`).setAttribute("aria-pressed", String(name === view));
  }
  if (view === "map") map();
}

async function start() {
  state.facts = await ask("api/facts");
  $("title").textContent = document.title = state.facts.title;
  const { connections, endings } = state.facts;
  $("connections").append(...connections.map((one, index) => choice("checkbox", "connections", one.name, index === 0, choices, `${one.name} (${one.label})`)));
  $("map-connection").append(...connections.map((one) => made("option", {}, one.name)));
  $("file").accept = Object.values(endings).flat().map((ending) => `.${ending}`).join(",");
  choices();
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    look({ text: $("text").value });
  });
  // Choosing the same file again is a choice, too: what was held may be gone.
  $("file").addEventListener("click", () => ($("file").value = ""));
  $("file").addEventListener("change", () => $("file").files[0] && send($("file").files[0]));
  $("count").addEventListener("change", repeat);
  $("partners").addEventListener("toggle", () => $("partners").open && partners());
  $("show-search").addEventListener("click", () => show("search"));
  $("show-map").addEventListener("click", () => show("map"));
  $("map-connection").addEventListener("change", map);
  $("plane").addEventListener("pointermove", (event) => nearest(event) >= 0 && at(nearest(event)));
  $("plane").addEventListener("click", (event) => nearest(event) >= 0 && at(nearest(event)));
  $("plane").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const count = state.map?.places.length;
    if (step && count) {
      event.preventDefault();
      at((state.at + step + count) % count);
    } else if (event.key === "Enter" && state.at >= 0) look({ item: place(state.map.places[state.at].item), shown: state.map.places[state.at].item });
  });
  window.addEventListener("resize", () => $("map").hidden || draw());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !["INPUT", "SELECT"].includes(document.activeElement.tagName)) {
      event.preventDefault();
      show("search");
      $("text").focus();
    }
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });
  window.addEventListener("hashchange", () => {
    try {
      fromAddress();
    } catch {
      say("The address cannot be read.", true);
    }
  });
  fromAddress();
}

// #q=words, or #like=modality/corpus/shard/key; and what to find `by` which connection.
function fromAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const prefer = (id, value) => {
    const input = [...$(id).querySelectorAll("input")].find((one) => one.value === value);
    if (!input) return;
    if (input.type === "checkbox") for (const other of $(id).querySelectorAll("input")) other.checked = other === input;
    input.checked = true;
    choices();
  };
  state.query = null;
  prefer("connections", asked.get("by"));
  prefer("into", asked.get("into"));
  // Its steps are decoded one by one: a key may hold a slash.
  const like = (/[#&]like=([^&]*)/.exec(location.hash)?.[1] || "").split("/");
  if (like.length === 4) {
    const [modality, corpus, shard, key] = like.map(decodeURIComponent);
    look({ item: { corpus, shard, key, modality }, shown: { corpus, shard, key, modality } });
  } else if (asked.get("q")) {
    $("text").value = asked.get("q");
    look({ text: asked.get("q") });
  } else say("Type words and press Enter; / brings you back to them.");
}

start().catch((error) => say(error.message, true));
