// A picture of the reader's: dropped, chosen, pasted, or painted here as a sample.

import { h } from "./dom.js";

const MOST_BYTES = 20 * 2 ** 20;
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const COLOURS = ["red", "green", "blue", "yellow", "purple", "orange"];
const SHAPES = ["circle", "square", "triangle", "star"];

let pickers = 0;

/// A place for one picture; `url()` is the picture as a `data:` URL, or nothing.
export function pictureField(title) {
  let url = null;
  const id = `picture-${++pickers}`;
  const shown = h("img", { alt: "", hidden: true });
  const about = h("p.small.soft", { role: "status" }, "Drop a picture here");
  const input = h("input", { type: "file", id, accept: KINDS.join(","), "aria-label": `${title}: choose a file` });
  const sample = h("button", { type: "button" }, "Sample");
  const element = h("div.drop", { role: "group", "aria-label": title },
    h("strong.small", {}, title), shown, about, h("div.row", {}, input, h("label.button", { for: id }, "Choose"), sample));

  const show = (picture, told) => {
    url = picture;
    shown.hidden = !url;
    if (url) shown.src = url;
    shown.alt = told;
    about.textContent = told;
    about.classList.toggle("wrong", !url);
  };
  shown.addEventListener("load", () => shown.classList.toggle("tiny", shown.naturalWidth <= 128));
  shown.addEventListener("error", () => show(null, "This browser cannot show the picture."));

  const read = (file) => {
    if (!file) return;
    if (!KINDS.includes(file.type)) return show(null, "PNG, JPEG, WebP and GIF are understood.");
    if (file.size > MOST_BYTES) return show(null, "At most 20 MiB.");
    const reader = new FileReader();
    reader.addEventListener("load", () => show(reader.result, file.name));
    reader.readAsDataURL(file);
  };
  input.addEventListener("change", () => read(input.files[0]));
  element.addEventListener("paste", (event) => read(event.clipboardData.files[0]));
  for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    element.addEventListener(name, (event) => {
      event.preventDefault();
      element.classList.toggle("over", over);
    });
  }
  element.addEventListener("drop", (event) => read(event.dataTransfer.files[0]));
  sample.addEventListener("click", () => {
    const [colour, shape] = [any(COLOURS), any(SHAPES)];
    show(paint(colour, shape), `a ${colour} ${shape}`);
  });
  return { element, url: () => url, title };
}

const any = (list) => list[Math.floor(Math.random() * list.length)];

/// A coloured shape, 64 pixels square, as a `data:` URL.
function paint(colour, shape) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const brush = canvas.getContext("2d");
  brush.fillStyle = "white";
  brush.fillRect(0, 0, 64, 64);
  brush.fillStyle = colour;
  brush.beginPath();
  if (shape === "circle") brush.arc(32, 32, 19, 0, 2 * Math.PI);
  else if (shape === "square") brush.rect(15, 15, 34, 34);
  else corners(shape).forEach(([x, y]) => brush.lineTo(x, y));
  brush.fill();
  return canvas.toDataURL("image/png");
}

function corners(shape) {
  const [count, radii] = shape === "star" ? [10, [22, 9]] : [3, [22]];
  return Array.from({ length: count }, (_, index) => {
    const [turn, radius] = [(2 * Math.PI * index) / count - Math.PI / 2, radii[index % radii.length]];
    return [32 + radius * Math.cos(turn), 32 + radius * Math.sin(turn)];
  });
}
