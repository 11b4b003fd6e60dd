/** Building nodes. Text goes in as text, never as markup: names come from machines nobody vouches for. */

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} props `class`, `text`, `on` (event → listener), `data`; anything else is an attribute (null and false are left out)
 * @param {...(Node|string|null)} children
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element with plain attributes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Set the text of a node, only where it differs: a screen reader is not told the same thing twice. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Bring the children of a list in line with its items, keeping the nodes (and so focus and open details) of those that stay.
 * @param {Element} list
 * @param {Array} items
 * @param {Map<string, {node: Element, update: function}>} views kept by the caller between calls
 * @param {function} key item → string
 * @param {function} make item → {node, update(item)}
 */
export function keyed(list, items, views, key, make) {
  const wanted = new Set(items.map(key));
  for (const [id, view] of views) {
    if (wanted.has(id)) continue;
    view.node.remove();
    views.delete(id);
  }
  items.forEach((item, place) => {
    const id = key(item);
    let view = views.get(id);
    if (!view) views.set(id, (view = make(item)));
    view.update(item);
    if (list.children[place] !== view.node) list.insertBefore(view.node, list.children[place] ?? null);
  });
}
