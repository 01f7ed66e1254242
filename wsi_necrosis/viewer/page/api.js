// What the page asks its server for.

async function answer(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Error(told.error || `the viewer answered ${response.status}`);
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the viewer does not answer; was it ended in its terminal?");
  }
  return answer(response);
}

export async function get(path) {
  return (await asked(path)).json();
}

export async function bytes(path) {
  return new Uint8Array(await (await asked(path)).arrayBuffer());
}

export async function picture(path) {
  return createImageBitmap(await (await asked(path)).blob());
}

export async function post(path, facts) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(facts) };
  return (await asked(path, options)).json();
}
