/* The script of the page that enrols: shows each chosen file with the boxes of its signatures, which can be moved,
   resized, drawn and typed. Without it, the form is sent as it is and the service finds the signatures. */

const SVG = "http://www.w3.org/2000/svg";
const PAGE = { Accept: "text/html" }; // errors are to be pages, and not JSON
const SIDES = ["left", "top", "right", "bottom"];
const form = document.querySelector("#enrol");
/* {file, number, count, width, height, boxes: [{left, top, right, bottom}], seen, section}: page `number` of `count`,
   counted from 0, sizes in pixels of the page. `seen` has the pages that were shown before, with their boxes. */
const pages = [];

function clone(id) {
  return document.querySelector(id).content.firstElementChild.cloneNode(true);
}

function report(text) {
  const problem = document.querySelector("#problem");
  problem.textContent = text;
  if (text) problem.scrollIntoView({ block: "nearest" });
}

/* Asks the service for the picture of a page and the boxes of the signatures on it; null when there are none. */
async function fetchPage(file, number) {
  const progress = document.querySelector("#progress");
  progress.textContent = progress.dataset.reading;
  const body = new FormData();
  body.set("csrf", form.elements.csrf.value);
  body.set("file", file);
  body.set("page", number);
  try {
    const response = await fetch(`${form.action}/page`, { method: "POST", headers: PAGE, body });
    if (response.redirected) {
      location.assign(response.url); // the session has ended
      return null;
    }
    if (response.ok) return await response.json();
    report(`${file.name}: ${await problemOf(response)}`);
  } catch {
    report(progress.dataset.failed);
  }
  return null;
}

function count() {
  const progress = document.querySelector("#progress");
  const boxes = pages.reduce((sum, page) => sum + page.boxes.length, 0);
  progress.textContent = pages.length ? progress.dataset.found.replace("#", String(boxes)) : "";
}

/* Adds a page of a file. */
async function add(file, number = 0) {
  const found = await fetchPage(file, number);
  if (found) {
    const page = { file, number, count: found.pages, seen: new Map(), section: clone("#page-template"), boxes: [] };
    pages.push(page);
    prepareSection(page);
    document.querySelector("#pages").append(page.section);
    show(page, number, found);
  }
  count();
}

/* Shows another page of the same file in place of this one; its boxes are kept for when it is shown again. */
async function turnTo(page, number, input) {
  if (input.disabled) return; // a disabled field loses the focus and reports its change once more
  const { picture, width, height, boxes } = page;
  page.seen.set(page.number, { image: picture, width, height, boxes });
  input.disabled = true;
  const found = page.seen.get(number) ?? (await fetchPage(page.file, number));
  input.disabled = false;
  if (found) show(page, number, found);
  input.value = page.number + 1;
  input.focus();
  count();
}

async function problemOf(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return page.querySelector(".error")?.textContent ?? String(response.status);
}

function prepareSection(page) {
  const { section, file } = page;
  const drawing = section.querySelector("svg");
  const input = section.querySelector(".page-number");
  const of = section.querySelector(".of");
  const another = section.querySelector(".another");
  section.querySelector("h2").textContent = file.name;
  section.querySelector(".several").hidden = another.hidden = page.count === 1;
  input.max = page.count;
  of.textContent = of.dataset.text.replace("#", String(page.count));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // the form would be sent
    input.dispatchEvent(new Event("change"));
  });
  input.addEventListener("change", () => {
    const number = Math.round(Number(input.value)) - 1;
    if (number >= 0 && number < page.count && !isTaken(page.file, number)) turnTo(page, number, input);
    else input.value = page.number + 1;
  });
  another.addEventListener("click", () => {
    const free = [...Array(page.count).keys()].find((number) => number > page.number && !isTaken(file, number));
    const number = free ?? [...Array(page.count).keys()].find((other) => !isTaken(file, other));
    if (number !== undefined) add(file, number);
  });
  section.querySelector(".add").addEventListener("click", () => {
    const { width, height } = page;
    const box = { left: Math.round(width / 4), top: Math.round(height / 4), right: Math.round((3 * width) / 4), bottom: Math.round((3 * height) / 4) };
    page.boxes.push(box);
    list(page);
    section.querySelector("li:last-child input").focus();
  });
  section.querySelector(".drop-file").addEventListener("click", () => {
    pages.splice(pages.indexOf(page), 1);
    section.remove();
    count();
    document.querySelector("#files").focus();
  });
  drawing.addEventListener("pointerdown", (event) => drag(page, drawing, event));
}

/* Whether a page of a file is shown already: its signatures must not be enrolled twice. */
function isTaken(file, number) {
  return pages.some((page) => page.file === file && page.number === number);
}

/* Shows a page in its section; boxes from the service are arrays of sides. */
function show(page, number, { image, width, height, boxes }) {
  const sides = (box) => (Array.isArray(box) ? Object.fromEntries(SIDES.map((side, n) => [side, box[n]])) : box);
  Object.assign(page, { number, picture: image, width, height, boxes: boxes.map(sides) });
  const drawing = page.section.querySelector("svg");
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const picture = drawing.querySelector("image");
  picture.setAttribute("href", image);
  picture.setAttribute("width", width);
  picture.setAttribute("height", height);
  page.section.querySelector(".page-number").value = number + 1;
  list(page);
}

/* Writes the fields of all boxes of a page. */
function list(page) {
  const name = document.querySelector("#box-name").textContent;
  const rows = page.boxes.map((box, number) => {
    const row = clone("#box-template");
    row.querySelector("legend").textContent = name.replace("#", String(number + 1));
    for (const input of row.querySelectorAll("input")) {
      const { side } = input.dataset;
      input.max = side === "left" || side === "right" ? page.width : page.height;
      input.value = box[side];
      input.addEventListener("input", () => {
        box[side] = Math.round(Number(input.value));
        draw(page);
      });
    }
    row.querySelector(".remove").addEventListener("click", () => {
      page.boxes.splice(number, 1);
      list(page);
      page.section.querySelector(".add").focus();
    });
    return row;
  });
  page.section.querySelector(".box-list").replaceChildren(...rows);
  draw(page);
  count();
}

function draw(page) {
  const drawing = page.section.querySelector("svg");
  for (const old of drawing.querySelectorAll("g")) old.remove();
  const unit = Math.max(page.width, page.height) / 60;
  page.boxes.forEach((box, number) => {
    const group = document.createElementNS(SVG, "g");
    group.dataset.number = number;
    group.append(
      element("rect", { x: box.left, y: box.top, width: Math.max(0, box.right - box.left), height: Math.max(0, box.bottom - box.top) }),
      element("circle", { cx: box.right, cy: box.bottom, r: unit / 2 }),
      element("text", { x: box.left, y: Math.max(unit, box.top - unit / 4), "font-size": unit }),
    );
    group.querySelector("text").textContent = String(number + 1);
    drawing.append(group);
  });
  // Its place stays, so that the picture does not move while a box is drawn.
  page.section.querySelector(".none").style.visibility = page.boxes.length > 0 ? "hidden" : "visible";
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/* Moves a box, resizes it at its corner, or draws a new one. */
function drag(page, drawing, event) {
  const at = (moved) => new DOMPoint(moved.clientX, moved.clientY).matrixTransform(drawing.getScreenCTM().inverse());
  const start = at(event);
  const group = event.target.closest("g");
  const box = group ? page.boxes[Number(group.dataset.number)] : { left: start.x, top: start.y, right: start.x, bottom: start.y };
  const before = { ...box };
  const isMoved = event.target.matches("rect");
  if (!group) page.boxes.push(box);
  event.preventDefault();
  drawing.setPointerCapture(event.pointerId);
  const move = (moved) => {
    const { x, y } = at(moved);
    if (isMoved) {
      const dx = clamp(x - start.x, -before.left, page.width - before.right);
      const dy = clamp(y - start.y, -before.top, page.height - before.bottom);
      Object.assign(box, { left: before.left + dx, right: before.right + dx, top: before.top + dy, bottom: before.bottom + dy });
    } else {
      const end = { x: clamp(x, 0, page.width), y: clamp(y, 0, page.height) };
      Object.assign(box, {
        left: Math.min(before.left, end.x),
        right: Math.max(before.left, end.x),
        top: Math.min(before.top, end.y),
        bottom: Math.max(before.top, end.y),
      });
    }
    for (const side of SIDES) box[side] = Math.round(box[side]);
    draw(page);
  };
  const end = () => {
    drawing.removeEventListener("pointermove", move);
    // A click is no box.
    if (!group && (box.right - box.left < 5 || box.bottom - box.top < 5)) page.boxes.splice(page.boxes.indexOf(box), 1);
    list(page);
  };
  drawing.addEventListener("pointermove", move);
  drawing.addEventListener("pointerup", end, { once: true });
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

async function send(event) {
  if (!pages.length) return; // the form is sent as it is
  event.preventDefault();
  report("");
  const body = new FormData();
  body.set("csrf", form.elements.csrf.value);
  body.set("signer_id", form.elements.signer_id.value);
  const files = [...new Set(pages.map((page) => page.file))];
  for (const file of files) body.append("files", file);
  for (const page of pages) {
    const boxes = page.boxes.map((box) => SIDES.map((side) => box[side]).join(","));
    const place = `${files.indexOf(page.file)}.${page.number}`;
    for (const box of boxes.length ? boxes : ["auto"]) body.append("boxes", `${place}:${box}`);
  }
  const button = form.querySelector("button.main");
  button.disabled = true;
  try {
    const response = await fetch(form.action, { method: "POST", headers: PAGE, body });
    if (response.redirected) location.assign(response.url);
    else report(await problemOf(response));
  } catch {
    report(document.querySelector("#progress").dataset.failed);
  }
  button.disabled = false;
}

if (form) {
  form.addEventListener("submit", send);
  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", async () => {
      report("");
      const chosen = [...input.files];
      input.value = ""; // they are kept in `pages`
      for (const file of chosen) await add(file);
    });
  }
  const area = form.querySelector(".drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    area.addEventListener(kind, (event) => {
      event.preventDefault();
      area.classList.toggle("over", kind === "dragover");
    });
  }
  area.addEventListener("drop", async (event) => {
    report("");
    for (const file of event.dataTransfer.files) await add(file);
  });
}
