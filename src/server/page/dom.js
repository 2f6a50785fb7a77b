// Elements without markup: whatever comes from data becomes text, and can become nothing else.

/// An element. Properties that start with "on" are listeners, "data" and ARIA names are attributes, the rest are
/// properties; children are elements or texts.
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "role" || key === "for" || key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/// An SVG element with these attributes.
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/// Sets an element's text, and leaves the document alone where it says so already.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Keeps `parent`'s children in step with `items`: one child for each key, made once and updated in place, so that
/// focus and selection stay where they are. Of items with one key, all but the first are made anew each time.
export function keep(parent, items, keyOf, make, update) {
  const kept = new Map();
  for (const child of [...parent.children]) {
    if (kept.has(child.keptAs)) child.remove();
    else kept.set(child.keptAs, child);
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = kept.get(key);
    if (!child) {
      child = make(item);
      child.keptAs = key;
    }
    kept.delete(key);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const gone of kept.values()) gone.remove();
}

/// One of the page's own places.
export const place = (id) => document.getElementById(id);
