// The page: camera, picture or video -> the server on this machine -> boxes, bars, a timeline.

const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
// Okabe & Ito's palette, told apart with every common colour blindness.
const COLOURS = {
  angry: "#d55e00", disgust: "#009e73", fear: "#cc79a7", happy: "#f0e442", sad: "#0072b2",
  surprise: "#e69f00", neutral: "#c8c8c8",
};
const TEXTS = {
  en: {
    local: "What the camera sees stays on the machine that runs semblante.", language: "Language",
    view: "Picture", camera: "Start the camera", stop: "Stop the camera",
    choose: "Choose a picture or a video", hint: "Drop a picture or a video here, or paste one.",
    faces: "Faces", nobody: "No face yet.", time: "Over time",
    certainty: "How the probability is shared out over seven words for an expression. It says what "
      + "the face shows to this program, not what anybody feels, and it is often wrong.",
    json: "Save as JSON", csv: "Save as CSV", saved: "Save the picture",
    face: "Face", track: "Face", none: "No face found.", one: "1 face: ", many: "faces: ",
    unsure: "unsure", denied: "The camera cannot be used: ", lost: "The server does not answer.",
    retry: "The server does not answer; trying again.",
    gone: "The camera is gone.",
    working: "Working on the video", unread: "It cannot be read: ", rate: "results a second",
    names: { angry: "angry", disgust: "disgust", fear: "fear", happy: "happy", sad: "sad",
      surprise: "surprise", neutral: "neutral" },
  },
  es: {
    local: "Lo que ve la cámara no sale del equipo en el que corre semblante.", language: "Idioma",
    view: "Imagen", camera: "Encender la cámara", stop: "Apagar la cámara",
    choose: "Elegir una imagen o un video",
    hint: "Suelte aquí una imagen o un video, o péguelo.",
    faces: "Rostros", nobody: "Todavía no hay rostros.", time: "En el tiempo",
    certainty: "Cómo se reparte la probabilidad entre siete palabras para una expresión. Dice qué "
      + "muestra el rostro a este programa, no qué siente alguien, y a menudo se equivoca.",
    json: "Guardar como JSON", csv: "Guardar como CSV", saved: "Guardar la imagen",
    face: "Rostro", track: "Rostro", none: "No se encontró ningún rostro.", one: "1 rostro: ",
    many: "rostros: ", unsure: "poco seguro", denied: "No se puede usar la cámara: ",
    lost: "El servidor no responde.",
    retry: "El servidor no responde; se vuelve a intentar.", gone: "La cámara ya no está.", working: "Analizando el video",
    unread: "No se puede leer: ", rate: "resultados por segundo",
    names: { angry: "enfado", disgust: "asco", fear: "miedo", happy: "alegría", sad: "tristeza",
      surprise: "sorpresa", neutral: "neutral" },
  },
};
// Below this the first word is hardly better than the second: the page says so.
const SURE = 0.5;
const FRAME_WIDTH = 640; // pixels sent of a camera's frame
const RETRY_MS = 1000; // before the server is asked again
const KEPT_S = 60; // seconds the timeline shows
const KEPT_ROWS = 20000; // results that can be saved

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const headers = token ? { authorization: `Bearer ${token}` } : {};
let language = localStorage.getItem("language")
  ?? (navigator.language.startsWith("es") ? "es" : "en");
let rows = []; // results, as the API gives them
let shown = null; // the result on the page
let live = null; // the camera at work

const text = (key) => TEXTS[language][key];
const name = (emotion) => text("names")[emotion];
const percent = (p) => `${Math.round(100 * p)} %`;

// -- words ------------------------------------------------------------------------------------

function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  if (live) $("camera").textContent = text("stop");
  $("legend").replaceChildren(...EMOTIONS.map((emotion) => {
    const item = document.createElement("li");
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    mark.setAttribute("viewBox", "0 0 10 10");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries(
      { width: 10, height: 10, fill: COLOURS[emotion], stroke: "currentColor" })) {
      square.setAttribute(key, value);
    }
    mark.append(square);
    item.append(mark, name(emotion));
    return item;
  }));
  if (shown) show(shown);
}

// -- showing a result ---------------------------------------------------------------------------

function show(result) {
  shown = result;
  drawBoxes(result);
  showBars(result.faces);
  const said = result.faces.map((face) => {
    const p = face.probabilities[face.emotion];
    return `${name(face.emotion)} ${percent(p)}${p < SURE ? ` (${text("unsure")})` : ""}`;
  });
  const start = said.length === 1 ? text("one") : `${said.length} ${text("many")}`;
  const summary = said.length ? start + said.join(", ") : text("none");
  if ($("summary").textContent !== summary) $("summary").textContent = summary;
  $("nobody").classList.toggle("hidden", result.faces.length > 0);
}

function drawBoxes(result) {
  const canvas = $("boxes");
  canvas.width = result.width;
  canvas.height = result.height;
  const pen = canvas.getContext("2d");
  paintBoxes(pen, result, result.width / canvas.clientWidth || 1);
}

// Also used for the picture that is saved; `scale` is picture pixels for one of the screen.
function paintBoxes(pen, result, scale) {
  pen.font = `600 ${Math.round(15 * scale)}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const face of result.faces) {
    const [left, top, width, height] = face.box;
    const colour = COLOURS[face.emotion];
    pen.lineWidth = Math.max(2, 3 * scale);
    pen.strokeStyle = colour;
    pen.strokeRect(left, top, width, height);
    const label = `${name(face.emotion)} ${percent(face.probabilities[face.emotion])}`;
    const tall = 21 * scale;
    const wide = pen.measureText(label).width + 10 * scale;
    const x = Math.max(0, Math.min(left, result.width - wide));
    const y = top >= tall ? top - tall : Math.min(top + height, result.height - tall);
    pen.fillStyle = colour;
    pen.fillRect(x, y, wide, tall);
    pen.fillStyle = ["sad", "angry", "disgust"].includes(face.emotion) ? "#fff" : "#000";
    pen.fillText(label, x + 5 * scale, y + 3 * scale);
  }
}

function showBars(faces) {
  const blocks = faces.slice(0, 6).map((face, number) => {
    const block = document.createElement("div");
    block.className = "face";
    const title = document.createElement("h3");
    title.textContent = `${text("face")} ${face.track ?? number + 1}`;
    block.append(title, ...EMOTIONS.map((emotion) => {
      const p = face.probabilities[emotion];
      const row = document.createElement("div");
      row.className = emotion === face.emotion ? "bar first" : "bar";
      const label = document.createElement("span");
      label.textContent = name(emotion);
      const meter = document.createElement("meter");
      meter.value = p;
      meter.setAttribute("aria-label", name(emotion));
      const value = document.createElement("output");
      value.textContent = percent(p);
      row.append(label, meter, value);
      return row;
    }));
    return block;
  });
  $("bars").replaceChildren(...blocks);
}

function drawTimeline() {
  const canvas = $("timeline");
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d");
  const timed = rows.filter((row) => row.time_s !== null);
  if (!timed.length) return;
  const end = timed.at(-1).time_s;
  const start = live ? Math.max(0, end - KEPT_S) : timed[0].time_s;
  const across = (time) => (time - start) / Math.max(1, end - start) * canvas.width;
  const seen = timed.filter((row) => row.time_s >= start);
  const tracks = [...new Set(seen.flatMap((row) => row.faces.map((face) => face.track)))].slice(-4);
  const tall = canvas.height / Math.max(1, tracks.length);
  seen.forEach((row, number) => {
    const left = across(row.time_s);
    const right = number + 1 < seen.length ? across(seen[number + 1].time_s) : canvas.width;
    for (const face of row.faces) {
      const place = tracks.indexOf(face.track);
      if (place < 0) continue;
      const high = (tall - 4 * scale) * face.probabilities[face.emotion];
      pen.fillStyle = COLOURS[face.emotion];
      pen.fillRect(left, (place + 1) * tall - high, Math.max(1, right - left), high);
    }
  });
  canvas.setAttribute("aria-label", `${text("time")}: ${start.toFixed(0)} - ${end.toFixed(0)} s`);
}

function keep(result) {
  rows.push(result);
  if (rows.length > KEPT_ROWS) rows.shift();
  for (const id of ["save-json", "save-csv", "save-picture"]) $(id).disabled = false;
}

function begin() {
  rows = [];
  shown = null;
  $("error").textContent = "";
  $("summary").textContent = "";
  $("bars").replaceChildren();
  $("nobody").classList.remove("hidden");
  $("stage").classList.add("filled");
}

function complain(message) {
  $("error").textContent = message;
}

// -- camera -------------------------------------------------------------------------------------

async function startCamera() {
  begin();
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
  } catch (error) {
    $("stage").classList.remove("filled");
    complain(text("denied") + error.message);
    return;
  }
  const video = $("video");
  video.srcObject = media;
  await video.play();
  display(video);
  live = { media, socket: null, sent: new Map(), next: 0, delays: [], answered: [] };
  $("camera").textContent = text("stop");
  const ours = live;
  // Unplugged, or taken back by the person.
  media.getVideoTracks()[0].onended = () => {
    if (live === ours) { stopCamera(); complain(text("gone")); }
  };
  connect(ours);
}

// Where the server goes away the camera stays on, and the page asks again until it is back.
function connect(ours) {
  if (live !== ours) return;
  const socket = new WebSocket(
    `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`,
    token ? ["semblante", token] : ["semblante"]);
  ours.socket = socket;
  ours.sent.clear();
  ours.next = 0;
  ours.before = rows.at(-1)?.time_s ?? 0; // each connection's time starts at 0
  socket.onopen = () => { complain(""); sendFrame(ours); };
  socket.onmessage = (event) => answered(ours, JSON.parse(event.data));
  socket.onclose = () => {
    if (live !== ours) return;
    complain(text("retry"));
    setTimeout(() => connect(ours), RETRY_MS);
  };
}

function stopCamera() {
  if (!live) return;
  const { media, socket } = live;
  live = null;
  socket?.close();
  media.getTracks().forEach((track) => track.stop());
  $("camera").textContent = text("camera");
}

// The next frame goes out when the last has been answered: what is shown is never old.
function sendFrame(ours) {
  const video = $("video");
  if (live !== ours) return;
  const canvas = ours.canvas ??= document.createElement("canvas");
  const shrink = Math.min(1, FRAME_WIDTH / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * shrink);
  canvas.height = Math.round(video.videoHeight * shrink);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const taken = performance.now();
  canvas.toBlob(async (blob) => {
    const frame = await blob.arrayBuffer();
    // The camera may have been stopped, or the server gone, while the frame was compressed.
    if (live !== ours || ours.socket.readyState !== WebSocket.OPEN) return;
    ours.sent.set(ours.next, taken);
    ours.next += 1;
    ours.socket.send(frame);
  }, "image/jpeg", 0.8);
}

function answered(ours, answer) {
  if (live !== ours) return;
  requestAnimationFrame(() => sendFrame(ours));
  if (answer.error) return;
  const result = { path: null, frame: answer.frame, time_s: ours.before + answer.time_s,
    width: answer.width, height: answer.height, faces: answer.faces, error: null };
  keep(result);
  show(result);
  const now = performance.now();
  if (now - (ours.timeline ?? 0) > 200) {
    ours.timeline = now;
    drawTimeline();
  }
  ours.delays.push(now - ours.sent.get(answer.frame));
  ours.sent.delete(answer.frame);
  ours.answered.push(now);
  // For whoever measures: milliseconds from frame to drawn box, and results a second.
  const recent = ours.answered.filter((time) => now - time < 5000);
  document.body.dataset.rate = (recent.length / 5).toFixed(1);
  document.body.dataset.delay = median(ours.delays.slice(-100)).toFixed(0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

// -- pictures and videos ------------------------------------------------------------------------

async function analyze(file) {
  stopCamera();
  begin();
  try {
    if (file.type.startsWith("video/")) await analyzeVideo(file);
    else await analyzePicture(file);
  } catch (error) {
    complain(error instanceof TypeError ? text("lost") : text("unread") + error.message);
  }
}

async function analyzePicture(file) {
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const { results: [result] } = await call("/v1/analyze", { method: "POST", body: form });
  if (result.error) throw new Error(result.error);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const canvas = $("picture");
  canvas.width = result.width;
  canvas.height = result.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0, result.width, result.height);
  display(canvas);
  keep(result);
  show(result);
}

async function analyzeVideo(file) {
  const job = await call("/v1/analyze/video", { method: "POST", body: file,
    headers: { "content-type": file.type } });
  const bar = $("progress");
  bar.classList.remove("hidden");
  $("summary").textContent = text("working");
  let state = job;
  while (state.state === "waiting" || state.state === "running") {
    await new Promise((resolve) => setTimeout(resolve, 300));
    state = await call(`/v1/jobs/${job.id}`);
    bar.value = state.progress;
  }
  bar.classList.add("hidden");
  const answer = await fetch(`/v1/jobs/${job.id}/results`, { headers });
  const lines = (await answer.text()).trim();
  call(`/v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  if (lines) lines.split("\n").forEach((line) => keep(JSON.parse(line)));
  if (state.error) complain(text("unread") + state.error);
  if (!rows.length) return;
  const video = $("video");
  video.srcObject = null;
  video.src = URL.createObjectURL(file);
  video.controls = true;
  video.ontimeupdate = () => follow(video);
  await video.play().catch(() => {});
  display(video);
  show(rows[0]);
  drawTimeline();
}

// The result of the frame that a playing video shows.
function follow(video) {
  if (live || !rows.length) return;
  let best = rows[0];
  for (const row of rows) if (row.time_s <= video.currentTime + 0.02) best = row;
  if (best !== shown) show(best);
  if (!video.paused) video.requestVideoFrameCallback?.(() => follow(video));
}

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (answer.status === 204) return null;
  const body = await answer.json();
  if (!answer.ok && !body.results) throw new Error(body.error ?? answer.statusText);
  return body;
}

function display(element) {
  for (const id of ["video", "picture"]) $(id).classList.toggle("hidden", $(id) !== element);
  if (element !== $("video")) { $("video").pause(); $("video").removeAttribute("src"); }
  $("video").controls = element === $("video") && !live && !$("video").srcObject;
}

// -- saving ---------------------------------------------------------------------------------------

function save(blob, fileName) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function asCsv() {
  const columns = ["path", "frame", "time_s", "width", "height", "face", "track", "left", "top",
    "face_width", "face_height", "detection_score", "emotion", ...EMOTIONS, "error"];
  const cell = (value) => /[",\r\n]/.test(value ?? "")
    ? `"${String(value).replaceAll('"', '""')}"` : value ?? "";
  const lines = rows.flatMap((row) => {
    const about = [row.path, row.frame, row.time_s, row.width, row.height];
    if (!row.faces.length) return [[...about, ...Array(15).fill(null), row.error]];
    return row.faces.map((face, number) => [...about, number + 1, face.track, ...face.box,
      face.detection_score, face.emotion, ...EMOTIONS.map((e) => face.probabilities[e]),
      row.error]);
  });
  return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function savePicture() {
  const source = $("video").classList.contains("hidden") ? $("picture") : $("video");
  const canvas = document.createElement("canvas");
  canvas.width = shown.width;
  canvas.height = shown.height;
  const pen = canvas.getContext("2d");
  pen.drawImage(source, 0, 0, shown.width, shown.height);
  paintBoxes(pen, shown, Math.max(1, shown.width / 800));
  canvas.toBlob((blob) => save(blob, "semblante.png"), "image/png");
}

// -- what happens when --------------------------------------------------------------------------

$("camera").onclick = () => (live ? stopCamera() : startCamera());
$("choose").onclick = () => $("file").click();
$("file").onchange = (event) => { if (event.target.files[0]) analyze(event.target.files[0]); };
$("language").value = language;
$("language").onchange = (event) => {
  language = event.target.value;
  localStorage.setItem("language", language);
  speak();
  drawTimeline();
};
$("save-json").onclick = () => save(
  new Blob([rows.map((row) => JSON.stringify(row) + "\n").join("")]), "semblante.jsonl");
$("save-csv").onclick = () => save(new Blob([asCsv()], { type: "text/csv" }), "semblante.csv");
$("save-picture").onclick = savePicture;
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  if (event.dataTransfer.files[0]) analyze(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files[0]) analyze(event.clipboardData.files[0]);
});
window.addEventListener("resize", () => { if (shown) drawBoxes(shown); drawTimeline(); });
speak();
