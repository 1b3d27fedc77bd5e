// The transcript viewer. valstab/results/report/transcripts.py documents a block; it is unpacked on first use.

const packed = document.getElementsByClassName("block");
const unpacked = new Map();
const STEPS_PER_NAT = 1000;
let requests = 0; // transcripts opened so far

/** Return (a promise of) a persona's sessions, one per seed and context, the seeds outermost. */
function unpack(persona) {
  if (!unpacked.has(persona)) {
    const bytes = Uint8Array.from(atob(packed[persona].textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(persona, new Response(stream).json());
  }
  return unpacked.get(persona);
}

/** Return the index of the chosen option on the answer scale; null if no answer could be read. */
function choice(session, item) {
  const letter = session.chosen[item];
  return letter === null ? null : labels(session.letters[item]).indexOf(letter);
}

/** Return the label of each option: labels of one character stand beside each other, longer ones with a space between. */
function labels(letters) {
  return letters.includes(" ") ? letters.split(" ") : [...letters];
}

/** Return a list with a thought that opens at a click, or an empty list if there is none. */
function thought(text) {
  return text ? [make("details", {}, make("summary", {}, "Thought"), make("p", { class: "text", dir: "auto" }, text))] : [];
}

/** Return the conversation of a session. */
function chat(persona, context, session) {
  const messages = session.texts.map((text, place) => {
    const isModel = place % 2 === 1;
    const speaker = isModel ? named(persona.introduction ? persona.name : "Model") : place ? "Human (simulated)" : "Human (opening)";
    const note = session.cut.includes(place) ? [make("span", { class: "badge" }, "seems cut off")] : [];
    return make(
      "li",
      { class: isModel ? "model" : "human" },
      make("p", { class: "speaker" }, speaker, " ", ...note),
      ...thought(session.thoughts?.[place]),
      make("p", { class: "text", dir: "auto" }, text),
    );
  });
  return make(
    "article",
    {},
    make("h3", {}, messages.length ? "After a conversation about " : "In the context ", named(context)),
    messages.length ? make("ol", { class: "chat" }, ...messages) : make("p", { class: "hint" }, "There was no conversation."),
  );
}

/** Return the options of a question in the order offered, with their probabilities. */
function offered(item, gender, context, session, place) {
  const letters = labels(session.letters[place]);
  const chosen = choice(session, place);
  const probabilities = session.logprobs[place].map((steps) => (steps === null ? null : Math.exp(-steps / STEPS_PER_NAT)));
  const known = probabilities.filter((probability) => probability !== null);
  const scale = letters.map((_, option) => option).sort((a, b) => letters[a].length - letters[b].length || (letters[a] < letters[b] ? -1 : 1));
  const rows = scale.map((option) => {
    const probability = probabilities[option];
    const bar = svg("svg", { class: "bar", "aria-hidden": "true" });
    bar.append(svg("rect", { class: "value", x: 0, y: "25%", width: `${100 * Math.min(1, probability ?? 0)}%`, height: "50%" }));
    return make(
      "tr",
      { class: option === chosen ? "chosen" : null },
      make("td", {}, `(${letters[option]})`),
      make("td", { dir: "auto" }, item.options[gender][option], ...(option === chosen ? [" ", make("span", { class: "mark" }, "✓ chosen")] : [])),
      make("td", { class: "track" }, bar),
      make("td", { class: "number" }, number(probability)),
    );
  });
  const score = chosen === null ? "no answer could be read" : `counts ${item.scores[chosen]}`;
  const mass = known.length ? `answer mass ${number(known.reduce((sum, one) => sum + one, 0))}` : "probabilities unknown";
  return make(
    "div",
    {},
    ...thought(session.reasons?.[place]),
    ...(session.said ? [make("p", { class: "text", dir: "auto" }, session.said[place])] : []),
    make("table", { class: "options" }, make("caption", {}, named(context), `: ${score}, ${mass}`), make("tbody", {}, ...rows)),
  );
}

/** Return a question with its options in each of the sessions. */
function question(item, place, gender, sessions, flipped) {
  return make(
    "li",
    { class: flipped ? "question flipped" : "question", "data-item": item.number },
    make(
      "p",
      { class: "item" },
      make("b", {}, `${item.number}. `),
      make("span", { dir: "auto" }, item.text[gender]),
      " ",
      make("span", { class: "badge" }, item.key ? named(item.key) : "not scored"),
      ...(flipped ? [" ", make("span", { class: "badge flip" }, "⇄ flipped")] : []),
    ),
    ...(item.criterion ? [make("p", { class: "hint", dir: "auto" }, `Rated by: ${item.criterion}`)] : []),
    make("div", { class: "columns" }, ...sessions.map(([name, session]) => offered(item, gender, name, session, place))),
  );
}

/** Show the chosen transcript: one context, or two side by side. */
async function openTranscript() {
  const request = ++requests;
  const target = byId("transcript");
  const [place, seed] = [Number(byId("persona").value), Number(byId("seed").value)];
  const contexts = [...new Set([byId("context").value, byId("other").value])].filter((value) => value !== "").map(Number);
  if (typeof DecompressionStream === "undefined") {
    target.replaceChildren(make("p", { class: "warning" }, "This browser is too old to unpack the transcripts."));
    return;
  }
  target.setAttribute("aria-busy", "true");
  const all = await unpack(place);
  if (request !== requests) return; // the reader has chosen another since
  const persona = data.personas[place];
  const sessions = contexts.map((context) => [data.contexts[context], all[seed * data.contexts.length + context]]);
  const flips = data.items.map((_, item) => {
    const choices = sessions.map(([, session]) => choice(session, item));
    return choices.length === 2 && !choices.includes(null) && choices[0] !== choices[1];
  });
  const compared = data.items.filter((_, item) => sessions.every(([, session]) => session.chosen[item] !== null)).length;
  const list = make(
    "ol",
    { class: "questions" },
    ...data.items.map((item, index) => question(item, index, persona.gender, sessions, flips[index])),
  );
  const parts = [
    make("h3", { class: "who" }, named(persona.name), `, seed ${data.seeds[seed]}`),
    make("div", { class: "columns" }, ...sessions.map(([name, session]) => chat(persona, name, session))),
    make("h3", {}, `Questions, each asked directly after the conversation${data.judged ? "; the options are those of a judge of the answer" : ""}`),
  ];
  if (data.description) parts.push(make("p", { class: "hint", dir: "auto" }, data.description));
  if (sessions.length === 2) {
    const only = make("input", { type: "checkbox", id: "only-flipped" });
    only.addEventListener("change", () => list.classList.toggle("only-flipped", only.checked));
    const count = flips.filter(Boolean).length;
    parts.push(make("p", { class: "flips" }, `${count} of ${plural(compared, "answer")} flipped. `, make("label", {}, only, " Show only these")));
  }
  target.replaceChildren(...parts, list);
  target.removeAttribute("aria-busy");
}

fill(byId("persona"), personaNames.slice(0, data.transcripts));
fill(byId("context"), data.contexts);
fill(byId("seed"), data.seeds.map(String));
fill(byId("other"), data.contexts, "nothing");
if (data.transcripts < data.personas.length) {
  byId("left-out").textContent =
    `This page has the transcripts of the first ${data.transcripts} of ${data.personas.length} personas; ` +
    "conversations.jsonl and answers.parquet, in the same folder, have all of them.";
}
// There is no form, since MLflow shows artifacts in a frame that may not submit one.
byId("open").addEventListener("click", openTranscript);
byId("choices").addEventListener("change", () => {
  if (requests) openTranscript();
});
