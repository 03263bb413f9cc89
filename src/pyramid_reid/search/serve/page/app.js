// The page: crops of a person in, ranked hits out. All of it comes from this server.

import { table } from "./table.js";

const BRANCHES = ["ori", "h1", "h2", "h3"];
const PAGE = 48;
const KEPT = 1000; // cards of hits that come back when a slider does

const one = (selector) => document.querySelector(selector);

// queries: {id, url, file}; a file has no id until the server has seen it.
// answer: of the hits that are shown: they stay when queries change or the next search fails.
// marked: what was marked, as {hit, queries, weights} of the answer in which it was.
const NONE = { hits: [], queries: [], weights: {} };
const state = { status: null, queries: [], answer: NONE, marks: new Map(), marked: new Map(), offset: 0 };
const cards = new Map();

// ---------------------------------------------------------------- talking to the server

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is `pyramid-reid serve` still running?");
  }
  if (answer.status === 401) location.assign("/login");
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(said.error ?? `The server answered ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return said;
}

function form(files, options) {
  const body = new FormData();
  for (const file of files) body.append("images", file);
  if (options) body.append("options", JSON.stringify(options));
  return { method: "POST", body };
}

const json = (options) => ({
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(options),
});

function fail(error) {
  one("#error").textContent = error.message;
  one("#error").hidden = false;
}

// ---------------------------------------------------------------- what is asked for

function filters() {
  return {
    cameras: [...document.querySelectorAll("#cameras input:checked")].map((box) => box.value),
    since: one("#since").value || null,
    until: one("#until").value || null,
  };
}

function sliders() {
  return Object.fromEntries(BRANCHES.map((branch) => [branch, Number(one(`#w-${branch}`).value)]));
}

function setSliders(weights) {
  const largest = Math.max(...Object.values(weights));
  // the largest at 50: room to both sides
  for (const branch of BRANCHES) one(`#w-${branch}`).value = Math.round((50 * weights[branch]) / largest);
  state.own = false;
  showShares();
}

function showShares() {
  const values = sliders();
  const total = Object.values(values).reduce((a, b) => a + b, 0);
  for (const branch of BRANCHES) {
    const share = total ? Math.round((100 * values[branch]) / total) : 0;
    one(`.weight.${branch} output`).textContent = `${share} %`;
    one(`#w-${branch}`).setAttribute("aria-valuetext", `${share} percent`);
  }
  return total;
}

// ---------------------------------------------------------------- searching

let running = false;
let again = false;

// one request at a time, and the latest wins: a slider moves faster than answers come
async function search() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    do {
      again = false;
      await searchOnce();
    } while (again);
  } finally {
    running = false;
  }
}

async function searchOnce() {
  show("results");
  if (!state.queries.length) {
    showHits(NONE);
    one("#said").textContent = "Give a crop of the person, or choose one in the gallery.";
    return;
  }
  if (!showShares()) {
    fail(new Error("All weights are 0: give one branch at least a weight above 0."));
    return;
  }
  const asked = [...state.queries];
  const files = asked.filter((query) => !query.id);
  const options = {
    ...filters(), ids: asked.filter((query) => query.id).map((query) => query.id),
    weights: state.own ? state.status.weights : sliders(), k: Number(one("#hits-number").value), exact: one("#exact").checked,
  };
  const begun = performance.now();
  if (files.length) one("#said").textContent = "Searching…";
  one("#results").setAttribute("aria-busy", "true");
  try {
    const answer = files.length
      ? await ask("/api/search", form(files.map((query) => query.file), options))
      : await ask("/api/search", json(options));
    files.forEach((query, number) => { query.id = answer.queries[number].id; });
    one("#error").hidden = true;
    showHits({ hits: answer.hits, queries: answer.queries.map((query) => query.id), weights: answer.weights });
    if (answer.why_no_probability) one("#calibration").textContent = `No probabilities: ${answer.why_no_probability}.`;
    else showCalibration();
    const time = Math.round(performance.now() - begun);
    one("#said").textContent = `${answer.hits.length} of ${answer.searched.toLocaleString("en")} crops, `
      + `${time} ms. A rank is no identification: look at every hit.`;
  } catch (error) {
    // the server keeps features of pictures for a while only: send them again
    const lost = asked.filter((query) => query.file && query.id);
    if (error.status === 404 && lost.length) {
      for (const query of lost) query.id = null;
      again = true;
      return;
    }
    fail(error);
    one("#said").textContent = "";
  } finally {
    one("#results").removeAttribute("aria-busy");
  }
}

function showCalibration() {
  one("#calibration").textContent = state.status.calibrated
    ? "Percent at a hit: probability of the same person, where as many pairs are the same as are different."
    : `No probabilities: ${state.status.why_no_calibration}.`;
}

// ---------------------------------------------------------------- the person's crops

function addFiles(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) {
    fail(new Error("That is no image: give a JPEG, PNG or BMP."));
    return;
  }
  setQueries([...state.queries, ...images.map((file) => ({ id: null, file, url: URL.createObjectURL(file) }))]);
}

function setQueries(queries) {
  const most = state.status?.max_pictures ?? 16;
  const kept = queries.slice(0, most);
  for (const query of state.queries) if (query.file && !kept.includes(query)) URL.revokeObjectURL(query.url);
  state.queries = kept;
  const list = one("#queries");
  list.replaceChildren(...kept.map((query, number) => {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.src = query.url;
    image.alt = query.file ? `Crop ${number + 1} of the person, ${query.file.name}` : `Crop ${number + 1} of the person, from the gallery`;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `Remove crop ${number + 1}`);
    button.addEventListener("click", () => {
      setQueries(state.queries.filter((each) => each !== query));
      (one("#queries button") ?? one("#files")).focus();
    });
    item.append(image, button);
    return item;
  }));
  search().then(() => {
    const dropped = queries.length - kept.length;  // said now, as a search that succeeds hides what failed before
    if (dropped && one("#error").hidden) fail(new Error(`A search takes ${most} crops; the first ${most} are kept.`));
    return restore();
  });
  makeRoom(kept.at(-1));
}

let restoring = { query: undefined, asked: false };

// room for the restored images of a crop, before they are asked for: what is below them must not move
// under a pointer when they come
function makeRoom(query) {
  const box = one("#restored");
  if (restoring.query === query) return;
  restoring = { query, asked: false };
  for (const image of box.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  box.querySelector(".pictures").replaceChildren();
  box.hidden = !query;
}

async function restore() {
  const own = restoring;
  const { query } = own;
  if (!query || own.asked) return;
  own.asked = true;
  const box = one("#restored");
  try {
    const images = await ask("/api/restore", query.file ? form([query.file]) : json({ id: query.id }));
    if (restoring !== own) return;
    for (const each of images) {
      const figure = document.createElement("figure");
      figure.className = each.branch;
      const image = document.createElement("img");
      const bytes = Uint8Array.from(atob(each.png), (letter) => letter.charCodeAt(0));
      image.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
      image.alt = `The last crop restored by ${each.scale}, branch ${each.branch}`;
      const caption = document.createElement("figcaption");
      caption.textContent = `${each.branch} ×${each.scale}\n${each.width}×${each.height}`;
      figure.append(image, caption);
      box.querySelector(".pictures").append(figure);
    }
  } catch (error) {
    if (restoring !== own) return;
    box.hidden = true;
    if (one("#error").hidden) fail(error);
  }
}

// ---------------------------------------------------------------- hits

function card(id) {
  const item = document.createElement("li");
  item.tabIndex = -1;
  item.dataset.id = id;
  item.innerHTML = `
    <div class="head"><b></b><span class="fused"></span></div>
    <img loading="lazy" src="/api/crops/${id}">
    <dl class="bars">${BRANCHES.map((branch) => `<dt>${branch}</dt><dd class="track ${branch}"><div class="length"></div></dd><dd class="number"></dd>`).join("")}</dl>
    <div class="where"></div>
    <div class="marks">
      <button type="button" class="same" aria-pressed="false" tabindex="-1">Same</button>
      <button type="button" class="other" aria-pressed="false" tabindex="-1">Other</button>
      <button type="button" class="more" tabindex="-1">More like this</button>
    </div>`;
  for (const name of ["same", "other"]) {
    item.querySelector(`button.${name}`).addEventListener("click", () => mark(id, name));
  }
  item.querySelector("button.more").addEventListener("click", () => more([id]));
  return item;
}

function showHits(answer) {
  const focused = document.activeElement?.closest?.("#hits li")?.dataset.id;
  state.answer = answer;
  const items = answer.hits.map((hit) => {
    const item = cards.get(hit.id) ?? card(hit.id);
    cards.delete(hit.id);
    cards.set(hit.id, item); // the latest is the last to be dropped
    fill(item, hit);
    return item;
  });
  for (const id of cards.keys()) {
    if (cards.size <= KEPT) break;
    cards.delete(id);
  }
  one("#hits").replaceChildren(...items);
  for (const item of items) item.tabIndex = -1;
  const current = items.find((item) => item.dataset.id === focused) ?? items[0];
  if (current) current.tabIndex = 0;
  if (focused && current) current.focus({ preventScroll: true });
  showMarks();
}

// 2024-05-12T10:00:01.160000 as people read it
function moment(time) {
  return time?.replace("T", " ").replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

function fill(item, hit) {
  const where = [hit.camera === null ? null : `camera ${hit.camera}`, moment(hit.time),
    hit.track === null ? null : `track ${hit.track}`].filter(Boolean).join(", ");
  item.querySelector("b").textContent = hit.rank;
  const chance = hit.probability === null ? "" : `, ${Math.round(100 * hit.probability)} %`;
  item.querySelector(".fused").textContent = hit.distance.toFixed(3) + chance;
  item.querySelector(".fused").title = hit.probability === null
    ? "fused distance" : "fused distance, probability of the same person";
  item.querySelector("img").alt = `Hit ${hit.rank}${where ? `, ${where}` : ""}`;
  item.querySelector(".where").textContent = where;
  item.querySelector(".where").title = hit.path;
  BRANCHES.forEach((branch, number) => {
    // cosine distances above 1 are rare, and all far away
    item.querySelectorAll(".length")[number].style.width = `${Math.min(100, 100 * hit.distances[branch])}%`;
    item.querySelectorAll(".number")[number].textContent = hit.distances[branch].toFixed(3);
  });
}

// a hit with what it was found by: its distance holds for these queries and weights alone
function found(hit) {
  return { hit, queries: state.answer.queries, weights: state.answer.weights };
}

function mark(id, name) {
  if (state.marks.get(id) === name) {
    state.marks.delete(id);
    state.marked.delete(id);
  } else {
    state.marks.set(id, name);
    state.marked.set(id, found(state.answer.hits.find((hit) => hit.id === id)));
  }
  showMarks();
}

function showMarks() {
  for (const item of document.querySelectorAll("#hits li")) {
    const name = state.marks.get(item.dataset.id);
    for (const each of ["same", "other"]) {
      item.classList.toggle(each, name === each);
      item.querySelector(`button.${each}`).setAttribute("aria-pressed", String(name === each));
    }
  }
  const same = [...state.marks.values()].filter((name) => name === "same").length;
  one("#again").hidden = !same;
  one("#again").textContent = `Search with the ${same} marked same`;
  one("#export").hidden = !state.answer.hits.length && !state.marks.size;
  one(".keys").hidden = !state.answer.hits.length;
}

function more(ids) {
  setQueries(ids.map((id) => ({ id, file: null, url: `/api/crops/${id}` })));
  scrollTo({ top: 0 });
}

function exportCase() {
  const shown = new Set(state.answer.hits.map((hit) => hit.id));
  // what was marked and is no hit any more has no rank among these, and is written as it was found
  const gone = [...state.marked.values()].filter((each) => !shown.has(each.hit.id))
    .map((each) => ({ ...each, hit: { ...each.hit, rank: null } }));
  const text = table([...state.answer.hits.map(found), ...gone], state.marks);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "case.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---------------------------------------------------------------- gallery

function show(name) {
  for (const each of ["results", "gallery"]) one(`#${each}`).hidden = each !== name;
}

let listing = 0;

async function showGallery(offset) {
  const own = ++listing;  // an answer that comes after a newer question's is not shown
  show("gallery");
  const given = filters();
  const query = new URLSearchParams({ offset, limit: PAGE });
  for (const camera of given.cameras) query.append("camera", camera);
  for (const name of ["since", "until"]) if (given[name]) query.set(name, given[name]);
  try {
    const page = await ask(`/api/crops?${query}`);
    if (own !== listing) return;
    state.offset = offset;
    one("#error").hidden = true;
    one("#crops").replaceChildren(...page.crops.map((crop) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      const image = document.createElement("img");
      image.loading = "lazy";
      image.src = `/api/crops/${crop.id}`;
      const where = [crop.camera, moment(crop.time)].filter((each) => each !== null && each !== undefined).join(", ");
      image.alt = `Search for this person${where ? `: ${where}` : ""}`;
      const caption = document.createElement("span");
      caption.textContent = where;
      button.append(image, caption);
      button.addEventListener("click", () => more([crop.id]));
      item.append(button);
      return item;
    }));
    const last = offset + page.crops.length;
    one("#gallery-said").textContent = page.total
      ? `${(offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${page.total.toLocaleString("en")} crops. Choose the person to search for.`
      : "No crop fits the filter.";
    one("#previous").disabled = offset === 0;
    one("#next").disabled = last >= page.total;
  } catch (error) {
    if (own === listing) fail(error);
  }
}

// ---------------------------------------------------------------- keyboard

function move(key) {
  const items = [...document.querySelectorAll("#hits li")];
  const here = document.activeElement ?? document.body;
  // elsewhere, and without hits, arrows scroll as on any page
  if (!items.length || (here !== document.body && !here.closest("#hits"))) return false;
  const at = items.indexOf(document.activeElement?.closest?.("#hits li"));
  const columns = items.filter((item) => item.offsetTop === items[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const to = at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + step));
  for (const item of items) item.tabIndex = -1;
  items[to].tabIndex = 0;
  items[to].focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    document.activeElement?.blur();
    return;
  }
  if (event.target.matches("input, select, textarea")) return;
  const id = document.activeElement?.closest?.("#hits li")?.dataset.id;
  if (event.key.startsWith("Arrow")) {
    if (one("#results").hidden || !move(event.key)) return;
  }
  else if (event.key === "/") {
    one("details:has(#camera-search)").open = true;
    (one("#camera-filter").hidden ? one("#since") : one("#camera-search")).focus();
  }
  else if (id && event.key === "s") mark(id, "same");
  else if (id && event.key === "o") mark(id, "other");
  else if (id && event.key === "m") more([id]);
  else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- controls

one("#files").addEventListener("change", (event) => {
  addFiles(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) addFiles(event.clipboardData.files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  addFiles(event.dataTransfer.files);
});

for (const branch of BRANCHES) {
  one(`#w-${branch}`).addEventListener("input", () => {
    state.own = false;
    showShares();
    if (state.queries.length) search();
  });
}
one("#model-weights").addEventListener("click", () => {
  setSliders(state.status.weights);
  state.own = true; // exactly the model's, which the sliders only come near to
  if (state.queries.length) search();
});
one("#equal-weights").addEventListener("click", () => {
  setSliders({ ori: 1, h1: 1, h2: 1, h3: 1 });
  if (state.queries.length) search();
});

function refilter() {
  if (one("#gallery").hidden) search();
  else showGallery(0);
}
for (const name of ["#since", "#until", "#hits-number", "#exact"]) one(name).addEventListener("change", refilter);
one("#cameras").addEventListener("change", refilter);
one("#camera-search").addEventListener("input", (event) => {
  const part = event.target.value.toLowerCase();
  for (const label of document.querySelectorAll("#cameras label")) {
    label.hidden = !label.textContent.toLowerCase().includes(part);
  }
});
one("#no-filter").addEventListener("click", () => {
  for (const box of document.querySelectorAll("#cameras input")) box.checked = false;
  for (const label of document.querySelectorAll("#cameras label")) label.hidden = false;
  for (const name of ["#since", "#until", "#camera-search"]) one(name).value = "";
  refilter();
});
one("#again").addEventListener("click", () => {
  more([...state.marks].filter(([, name]) => name === "same").map(([id]) => id));
});
one("#logout").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST" });
  location.assign("/login");
});
one("#export").addEventListener("click", exportCase);
one("#show-gallery").addEventListener("click", () => showGallery(0));
one("#show-hits").addEventListener("click", () => show("results"));
one("#previous").addEventListener("click", () => showGallery(Math.max(0, state.offset - PAGE)));
one("#next").addEventListener("click", () => showGallery(state.offset + PAGE));

// on a phone hits come before controls
if (matchMedia("(max-width: 46rem)").matches) {
  for (const each of document.querySelectorAll("details")) each.open = false;
}

try {
  const status = await ask("/api/status");
  state.status = status;
  one("#about").textContent = `${status.crops.toLocaleString("en")} crops, model ${status.model}`
    + (status.logged ? ". Searches are logged." : "");
  showCalibration();
  one("#logout").hidden = !status.who;
  one("#camera-filter").hidden = !status.cameras.length;
  one("#cameras").replaceChildren(...status.cameras.map((camera) => {
    const label = document.createElement("label");
    label.className = "check";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = camera;
    label.append(box, ` ${camera}`);
    return label;
  }));
  setSliders(status.weights);
  state.own = true;
  if (!status.crops) one("#said").textContent = "The gallery is empty: fill it by `pyramid-reid index`.";
} catch (error) {
  fail(error);
}
