/* The script of the desk: the viewer, the keyboard, and the next case without waiting. The pages work without it. */

const { base, csrf } = document.body.dataset;
const PANE_HEIGHT = 280; // px
const BLINK_MS = 600;
const PAGE = { Accept: "text/html" }; // of a request whose errors are to be pages, and not JSON
const LOCALES = { en: "en-GB", de: "de-DE" };
const QUESTIONED_TINT = "#0b3d91";
const REFERENCE_TINT = "#b3261e";

let viewer = null;
let nextPage = null; // a promise of the next case, which is claimed already
let shownAt = performance.now();

/* Shows the questioned signature beside a reference or over it. Both are drawn so that the centres and the spreads of
   their ink agree; zoom and position are the same for both. */
class Viewer {
  constructor(main) {
    this.questioned = main.querySelector("figure.questioned");
    this.references = [...main.querySelectorAll("figure.reference")];
    this.buttons = [...main.querySelectorAll("[data-mode]")];
    this.opacity = main.querySelector("#opacity");
    this.mode = "side";
    this.index = 0;
    this.zoom = 1;
    this.offset = { x: 0, y: 0 };
    this.shown = 0; // which of the two is shown while blinking
    const decoded = [this.questioned, ...this.references].map((figure) => this.addCanvas(figure));
    this.ready = Promise.allSettled(decoded.slice(0, 2)); // what is seen first is drawn
    this.opacity?.addEventListener("input", () => this.draw());
    this.show();
  }

  addCanvas(figure) {
    const image = figure?.querySelector("img");
    if (!image) return null;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", image.alt);
    image.hidden = true;
    image.after(canvas);
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      this.offset.x += event.movementX;
      this.offset.y += event.movementY;
      this.draw();
    });
    return image.decode().then(() => this.draw());
  }

  get reference() {
    return this.references[this.index];
  }

  setMode(mode) {
    this.mode = mode;
    clearInterval(this.timer);
    if (mode === "blink") {
      this.timer = setInterval(() => {
        this.shown = 1 - this.shown;
        this.draw();
      }, BLINK_MS);
    }
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    this.show();
  }

  move(step) {
    const count = this.references.length;
    if (count) this.index = (this.index + step + count) % count;
    this.show();
  }

  setZoom(zoom) {
    this.zoom = Math.min(8, Math.max(1, zoom));
    if (this.zoom === 1) this.offset = { x: 0, y: 0 };
    this.draw();
  }

  show() {
    const isSingle = this.mode !== "side" && pictureOf(this.questioned) && pictureOf(this.reference);
    this.isSingle = Boolean(isSingle);
    this.references.forEach((figure, number) => {
      figure.hidden = number !== this.index;
    });
    this.questioned.parentElement.classList.toggle("single", this.isSingle);
    this.questioned.closest(".viewer").classList.toggle("overlaid", this.isSingle && this.mode === "overlay");
    this.showDifferences();
    this.draw();
  }

  /* Fetches where the questioned signature differs from the reference, and shows the legend. */
  async showDifferences() {
    const legend = document.querySelector("#differences");
    if (!legend) return;
    legend.hidden = this.mode !== "difference";
    const figure = this.reference;
    if (legend.hidden || !figure) return;
    const text = legend.querySelector(".count");
    text.textContent = "";
    try {
      figure.layer ??= fetchLayer(figure.dataset.differences);
      const layer = await figure.layer;
      if (figure === this.reference) text.textContent = layer.text;
      figure.drawn = layer.image;
      this.draw();
    } catch {
      delete figure.layer;
      text.textContent = legend.dataset.none;
    }
  }

  draw() {
    const pictures = [pictureOf(this.questioned), pictureOf(this.reference)];
    const alpha = Number(this.opacity?.value ?? 50) / 100;
    if (this.isSingle && this.mode === "difference") {
      const layers = [[pictures[0], null, 1]];
      if (this.reference.drawn) layers.unshift([this.reference.drawn, null, 1]);
      this.paint(this.questioned, pictures, layers);
      return;
    }
    if (this.isSingle) {
      const shares = this.mode === "blink" ? [1 - this.shown, this.shown] : [Math.min(1, 2 - 2 * alpha), Math.min(1, 2 * alpha)];
      this.paint(this.questioned, pictures, [
        [pictures[0], QUESTIONED_TINT, shares[0]],
        [pictures[1], REFERENCE_TINT, shares[1]],
      ]);
      return;
    }
    if (pictures[0]) this.paint(this.questioned, pictures, [[pictures[0], null, 1]]);
    if (pictures[1]) this.paint(this.reference, pictures, [[pictures[1], null, 1]]);
  }

  /* `pictures` decide on the scale, `layers` are drawn: picture, tint, share in [0, 1]. */
  paint(figure, pictures, layers) {
    const canvas = figure.querySelector("canvas");
    const width = canvas.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = PANE_HEIGHT * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, PANE_HEIGHT);
    const unit = Math.min(...pictures.filter(Boolean).map((picture) => fittingUnit(picture, width)));
    for (const [picture, tint, share] of layers) {
      if (!picture.complete || !picture.naturalWidth) continue;
      const scale = (unit / picture.dataset.spread) * this.zoom;
      context.globalCompositeOperation = "multiply";
      context.globalAlpha = share;
      context.drawImage(
        tint ? tinted(picture, tint) : picture,
        width / 2 + this.offset.x - picture.dataset.x * scale,
        PANE_HEIGHT / 2 + this.offset.y - picture.dataset.y * scale,
        picture.naturalWidth * scale,
        picture.naturalHeight * scale,
      );
    }
  }

  close() {
    clearInterval(this.timer);
  }
}

async function fetchLayer(address) {
  const response = await fetch(address);
  if (!response.ok || response.redirected) throw new Error(response.statusText);
  const { source, x, y, spread, text } = await response.json();
  const image = new Image();
  Object.assign(image.dataset, { x, y, spread });
  image.src = source;
  await image.decode();
  return { image, text };
}

function pictureOf(figure) {
  return figure?.querySelector("img") ?? null;
}

/* How many pixels one spread of the ink may take, so that the whole picture fits into a pane around its centre. */
function fittingUnit(picture, width) {
  const { x, y, spread } = picture.dataset;
  const across = Math.max(x, picture.naturalWidth - x) / spread;
  const down = Math.max(y, picture.naturalHeight - y) / spread;
  return 0.95 * Math.min(width / 2 / across, PANE_HEIGHT / 2 / down);
}

const tints = new WeakMap();

function tinted(picture, tint) {
  if (!tints.has(picture)) {
    const copy = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    const context = copy.getContext("2d");
    context.drawImage(picture, 0, 0);
    context.globalCompositeOperation = "lighten";
    context.fillStyle = tint;
    context.fillRect(0, 0, copy.width, copy.height);
    tints.set(picture, copy);
  }
  return tints.get(picture);
}

/* Makes a new `main` work. */
function prepare() {
  const main = document.querySelector("main");
  shownAt = performance.now();
  viewer?.close();
  viewer = main.querySelector(".viewer") ? new Viewer(main) : null;
  const isMine = main.dataset.mine === "true";
  nextPage = isMine ? Promise.resolve(viewer?.ready).then(() => fetchNext(main.dataset.case)) : null;
  for (const time of main.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString(LOCALES[document.documentElement.lang], { dateStyle: "short", timeStyle: "short" });
  }
  const note = main.querySelector("#note");
  if (note) {
    note.value = sessionStorage.getItem(noteKey(main)) ?? "";
    note.addEventListener("input", () => sessionStorage.setItem(noteKey(main), note.value));
  }
  main.querySelector("form.decision")?.addEventListener("submit", decide);
  countDown();
}

function noteKey(main) {
  return `note ${main.dataset.case}`;
}

/* Claims the case after this one and fetches its page; null when there is none. */
async function fetchNext(after) {
  try {
    const response = await fetch(`${base}/next`, { method: "POST", headers: PAGE, body: new URLSearchParams({ csrf, after }) });
    const isCase = response.ok && new URL(response.url).pathname.startsWith(`${base}/cases/`);
    return isCase ? { url: response.url, html: await response.text() } : null;
  } catch {
    return null;
  }
}

/* Sends the decision, and shows the next case, which has been fetched already. */
async function decide(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const main = document.querySelector("main");
  if (form.dataset.sent) return;
  form.dataset.sent = "true";
  const body = new URLSearchParams(new FormData(form, event.submitter));
  body.set("in_place", "true");
  body.set("seconds", ((performance.now() - shownAt) / 1000).toFixed(1));
  let response;
  try {
    response = await fetch(form.action, { method: "POST", headers: PAGE, body });
  } catch {
    delete form.dataset.sent; // the service cannot be reached: the case stays on the screen
    return;
  }
  if (response.redirected) {
    location.assign(`${base}/sign-in?next=${encodeURIComponent(`/desk/cases/${main.dataset.case}`)}`);
    return;
  }
  if (!response.ok) {
    show(await response.text(), location.href);
    return;
  }
  sessionStorage.removeItem(noteKey(main));
  const undo = await response.text();
  const next = await nextPage;
  if (!next) {
    location.assign(`${base}?undo=${main.dataset.case}`);
    return;
  }
  show(next.html, next.url, undo);
}

/* Replaces the content of the page. */
function show(html, url, undo = "") {
  const page = new DOMParser().parseFromString(html, "text/html");
  const main = page.querySelector("main");
  if (undo) main.querySelector("#undo")?.replaceChildren(...new DOMParser().parseFromString(undo, "text/html").body.children);
  document.querySelector("main").replaceWith(document.adoptNode(main));
  document.title = page.title;
  history.replaceState(null, "", url);
  prepare();
  main.focus();
  window.scrollTo(0, 0);
}

function countDown() {
  const form = document.querySelector("form.undo");
  if (!form) return;
  let seconds = Number(form.dataset.seconds);
  const timer = setInterval(() => {
    seconds -= 1;
    form.querySelector(".seconds").textContent = String(Math.max(0, seconds));
    if (seconds <= 0 || !form.isConnected) {
      clearInterval(timer);
      form.remove();
    }
  }, 1000);
}

async function showPage() {
  const dialog = document.querySelector("#page");
  dialog.querySelector("img").src = dialog.dataset.source;
  dialog.showModal();
}

const VIEWER_KEYS = {
  s: () => viewer.setMode("side"),
  o: () => viewer.setMode("overlay"),
  b: () => viewer.setMode("blink"),
  d: () => viewer.setMode("difference"),
  j: () => viewer.move(1),
  k: () => viewer.move(-1),
  "+": () => viewer.setZoom(viewer.zoom * 1.5),
  "-": () => viewer.setZoom(viewer.zoom / 1.5),
  0: () => viewer.setZoom(1),
  p: showPage,
};

/* Chooses between accepting and rejecting; the number of a reason then sends it. */
function arm(fieldset) {
  for (const other of document.querySelectorAll("fieldset")) other.classList.toggle("armed", other === fieldset);
  fieldset.querySelector("button").focus();
}

function press(key) {
  const reason = document.querySelector(`fieldset.armed button[data-number="${CSS.escape(key)}"]`);
  const target = reason ?? document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!target) return false;
  if (target.matches("fieldset")) arm(target);
  else target.click();
  return true;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.closest(".tools")) VIEWER_KEYS[button.dataset.key]?.();
  // The reason "other" needs a note; the browser then asks for it.
  if (button?.name === "ruling") document.querySelector("#note").required = button.value.endsWith(":other");
  if (button?.matches(".close")) button.closest("dialog").close();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target.matches?.("textarea, input:not([type=checkbox], [type=range])")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]") || !document.querySelector("#shortcuts")?.checked) return;
  if (press(event.key.toLowerCase())) event.preventDefault();
});

const shortcuts = document.querySelector("#shortcuts");
if (shortcuts) {
  shortcuts.checked = localStorage.getItem("shortcuts") !== "off";
  shortcuts.addEventListener("change", () => localStorage.setItem("shortcuts", shortcuts.checked ? "on" : "off"));
}
window.addEventListener("resize", () => viewer?.draw());
document.documentElement.classList.add("with-script");
prepare();
