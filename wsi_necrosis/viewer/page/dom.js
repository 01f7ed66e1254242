// Small helpers for elements.

export const byId = (id) => document.getElementById(id);

// An element with properties, and children that are elements or text. Text is never read as HTML.
export function make(tag, properties = {}, ...children) {
  const { dataset, style, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset || {});
  Object.assign(element.style, style || {});
  element.append(...children);
  return element;
}

// The message of an error, or of a slide that is not whole; nothing takes it away.
export function notice(text) {
  byId("notice").textContent = text || "";
  byId("notice").hidden = !text;
}

// Runs a job of the user's; what goes wrong is said.
export async function attempt(job) {
  try {
    return await job();
  } catch (error) {
    notice(error.message);
    return undefined;
  }
}

export const rgb = (colour, alpha = 1) => `rgb(${colour.join(" ")} / ${alpha})`;
