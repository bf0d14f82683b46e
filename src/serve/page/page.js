// The page: a dialogue with streamed answers, and charts of what /metrics says. It asks this server alone.

const element = /** @type {(id: string) => any} */ ((id) => document.getElementById(id));
const seconds = 60;
const settings = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"];
const stored = "lianlu-settings";

/** @type {{ role: string, content: string }[]} */
let dialogue = [];
/** @type {AbortController | undefined} */
let answering;

/** @param {string} path @param {RequestInit} [init] */
async function request(path, init = {}) {
  const key = element("key").value;
  const headers = { ...init.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const body = await response.json().catch(() => undefined);
  throw new Error(body?.error?.message ?? `${path} answered ${response.status}.`);
}

/** @param {string} role */
function addMessage(role) {
  element("messages").querySelector(".empty")?.remove();
  const item = document.createElement("li");
  item.className = role;
  const text = document.createElement("div");
  text.className = "text";
  const note = document.createElement("div");
  note.className = "note";
  item.append(text, note);
  element("messages").append(item);
  return { item, text, note };
}

function showEmpty() {
  const item = document.createElement("li");
  item.className = "empty";
  item.textContent = "Say something. The model runs on this machine.";
  element("messages").replaceChildren(item);
}

/** The settings that are filled in, as fields of a request. */
function sampling() {
  const filled = settings.map((id) => [id, element(id).valueAsNumber]).filter(([, value]) => !Number.isNaN(value));
  return { seed: Math.floor(Math.random() * 2 ** 32), ...Object.fromEntries(filled) };
}

/** The data of each server-sent event. @param {Response} response */
async function* readEvents(response) {
  const decoder = new TextDecoder();
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  let buffered = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffered += decoder.decode(value, { stream: true });
    const lines = buffered.split("\n");
    buffered = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

/** @param {string} content */
async function ask(content) {
  // A new dialogue may begin while this one is being answered.
  const turns = dialogue;
  turns.push({ role: "user", content });
  addMessage("user").text.textContent = content;
  const { item, text, note } = addMessage("assistant");
  const list = element("messages");
  list.scrollTop = list.scrollHeight;
  answering = new AbortController();
  element("send").hidden = true;
  element("stop").hidden = false;
  note.textContent = "…";
  const begun = performance.now();
  let first = 0;
  let answer = "";
  let why = "";
  const system = element("system").value.trim();
  try {
    const response = await request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: answering.signal,
      body: JSON.stringify({
        model: element("model").value,
        messages: [...(system ? [{ role: "system", content: system }] : []), ...turns],
        stream: true,
        stream_options: { include_usage: true },
        ...sampling(),
      }),
    });
    for await (const { choices, usage, error } of readEvents(response)) {
      if (error) throw new Error(error.message);
      const [choice] = choices ?? [];
      const piece = choice?.delta?.content ?? "";
      if (piece) {
        first ||= performance.now();
        answer += piece;
        // Whoever reads further up is left there.
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        text.textContent = answer;
        if (atEnd) list.scrollTop = list.scrollHeight;
      }
      if (choice?.finish_reason === "length") why = ", cut at the longest answer";
      if (usage) {
        const { completion_tokens: count, prompt_tokens: prompt, prompt_tokens_details: details } = usage;
        const speed = count > 1 ? ((count - 1) / (performance.now() - first)) * 1000 : 0;
        const cached = details?.cached_tokens ? ` (${details.cached_tokens} from the cache)` : "";
        note.textContent =
          `${count} tokens, ${speed.toFixed(1)} a second, the first after ${((first - begun) / 1000).toFixed(2)} s; ` +
          `prompt ${prompt}${cached}${why}`;
      }
    }
  } catch (error) {
    const stopped = answering.signal.aborted;
    note.textContent = stopped ? "Stopped." : String(error instanceof Error ? error.message : error);
    item.classList.toggle("failed", !stopped);
  }
  // What failed is not part of the dialogue; what was stopped is, as far as it came.
  if (answer) turns.push({ role: "assistant", content: answer });
  else turns.pop();
  answering = undefined;
  element("send").hidden = false;
  element("stop").hidden = true;
  element("input").focus();
}

/** Values of the last seconds. @type {Record<string, number[]>} */
const history = { speed: [], running: [], waiting: [], used: [], kept: [] };
/** @type {{ tokens: number, time: number } | undefined} */
let before;

/** The sum of a figure over all models. @param {string} text @param {string} name @param {string} [label] */
function figure(text, name, label = "") {
  let sum = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith(`${name}{`) && line.includes(label)) sum += Number(line.slice(line.lastIndexOf(" ") + 1));
    else if (line.startsWith(`${name} `)) sum += Number(line.slice(name.length + 1));
  }
  return sum;
}

/** @param {string} id @param {string[]} names @param {number} [most] */
function draw(id, names, most) {
  const top = most ?? Math.max(1, ...names.flatMap((name) => history[name] ?? []));
  const lines = names.map((name, index) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    const values = history[name] ?? [];
    const points = values.map((value, time) => {
      const x = 120 * (1 - (values.length - 1 - time) / (seconds - 1));
      return `${x.toFixed(1)},${(31 - (29 * value) / top).toFixed(1)}`;
    });
    line.setAttribute("points", points.join(" "));
    line.setAttribute("class", index === 0 ? "first" : "second");
    return line;
  });
  element(id).replaceChildren(...lines);
}

/** @param {string} name @param {number} value */
function remember(name, value) {
  const values = history[name] ?? [];
  values.push(value);
  if (values.length > seconds) values.shift();
}

async function watch() {
  try {
    const text = await (await request("/metrics")).text();
    const now = { tokens: figure(text, "lianlu_generated_tokens_total"), time: performance.now() };
    const speed = before ? Math.max(0, ((now.tokens - before.tokens) / (now.time - before.time)) * 1000) : 0;
    before = now;
    const [running, waiting] = ["running", "waiting"].map((state) => figure(text, "lianlu_sequences", `"${state}"`));
    const [used, kept, free] = ["used", "cached", "free"].map((state) => figure(text, "lianlu_kv_pages", `"${state}"`));
    const pages = used + kept + free || 1;
    remember("speed", speed);
    remember("running", running);
    remember("waiting", waiting);
    remember("used", used / pages);
    remember("kept", kept / pages);
    draw("speed", ["speed"]);
    draw("queue", ["running", "waiting"]);
    draw("cache", ["used", "kept"], 1);
    element("speed-now").textContent = speed.toFixed(1);
    element("queue-now").textContent = `${running} / ${waiting}`;
    element("cache-now").textContent = `${Math.round((100 * used) / pages)}% / ${Math.round((100 * kept) / pages)}%`;
    const asked = figure(text, "lianlu_prompt_tokens_total");
    const hits = asked ? Math.round((100 * figure(text, "lianlu_prefix_hit_tokens_total")) / asked) : 0;
    const memory = figure(text, "process_resident_memory_bytes") / 2 ** 30;
    element("memory").textContent = `${hits}% of prompt tokens from the cache; ${memory.toFixed(2)} GiB of memory.`;
    if (element("model").options.length === 0) await listModels();
    element("status").textContent = "";
  } catch (error) {
    element("status").textContent = String(error instanceof Error ? error.message : error);
  }
}

async function listModels() {
  const { data } = await (await request("/v1/models")).json();
  const options = data.map((/** @type {{ id: string, state: string }} */ { id }) => new Option(id, id));
  element("model").replaceChildren(...options);
}

function restore() {
  const values = JSON.parse(localStorage.getItem(stored) ?? "{}");
  for (const id of [...settings, "system"]) if (typeof values[id] === "string") element(id).value = values[id];
}

element("form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const content = element("input").value.trim();
  if (content === "" || answering) return;
  element("input").value = "";
  void ask(content);
});
element("input").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  // While an input method is composing, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element("form").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") answering?.abort();
});
element("stop").addEventListener("click", () => answering?.abort());
element("clear").addEventListener("click", () => {
  answering?.abort();
  dialogue = [];
  showEmpty();
  element("input").focus();
});
element("toggle").addEventListener("click", () => {
  const open = document.body.classList.toggle("settings");
  element("toggle").setAttribute("aria-expanded", String(open));
  element("toggle").textContent = open ? "Dialogue" : "Settings";
});
element("side").addEventListener("change", () => {
  const values = Object.fromEntries([...settings, "system"].map((id) => [id, element(id).value]));
  localStorage.setItem(stored, JSON.stringify(values));
});

restore();
showEmpty();
element("input").focus();
void watch();
setInterval(() => document.hidden || watch(), 1000);
