// The transcript viewer. valstab/report/transcripts.py says what a block holds; it is unpacked when it is first asked for.

const packed = document.getElementsByClassName("block");
const unpacked = new Map();
const STEPS_PER_NAT = 1000;
let opened = 0;

/** Give a persona's encounters, one for each seed and context, the seeds outermost. */
function unpack(persona) {
  if (!unpacked.has(persona)) {
    const bytes = Uint8Array.from(atob(packed[persona].textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(persona, new Response(stream).json());
  }
  return unpacked.get(persona);
}

/** The place on the scale of the option that was chosen; null where no answer could be read. */
function choice(encounter, item) {
  const letter = encounter.chosen[item];
  return letter === null ? null : encounter.letters[item].indexOf(letter);
}

function chat(persona, context, encounter) {
  const said = encounter.texts.map((text, place) => {
    const answers = place % 2 === 1;
    const speaker = answers ? named(persona.introduction ? persona.name : "Model") : place ? "Human (simulated)" : "Human (the opening)";
    const note = encounter.cut.includes(place) ? [make("span", { class: "badge" }, "seems cut off")] : [];
    return make(
      "li",
      { class: answers ? "model" : "human" },
      make("p", { class: "speaker" }, speaker, " ", ...note),
      make("p", { class: "text", dir: "auto" }, text),
    );
  });
  return make(
    "article",
    {},
    make("h3", {}, said.length ? "After talking about " : "In the context ", named(context)),
    said.length ? make("ol", { class: "chat" }, ...said) : make("p", { class: "hint" }, "There was no conversation."),
  );
}

/** The options of a question as they were offered, with the probability of each. */
function offered(item, gender, context, encounter, place) {
  const letters = encounter.letters[place];
  const chosen = choice(encounter, place);
  const probabilities = encounter.logprobs[place].map((steps) => (steps === null ? null : Math.exp(-steps / STEPS_PER_NAT)));
  const known = probabilities.filter((probability) => probability !== null);
  const scale = [...letters].map((_, option) => option).sort((a, b) => (letters[a] < letters[b] ? -1 : 1));
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
  const score = chosen === null ? "no answer could be read" : `counts ${data.option_scores[chosen]}`;
  const mass = known.length ? `answer mass ${number(known.reduce((sum, one) => sum + one, 0))}` : "probabilities unknown";
  return make(
    "table",
    { class: "options" },
    make("caption", {}, named(context), `: ${score}, ${mass}`),
    make("tbody", {}, ...rows),
  );
}

function question(item, place, gender, encounters, flipped) {
  return make(
    "li",
    { class: flipped ? "question flipped" : "question", "data-item": item.number },
    make(
      "p",
      { class: "item" },
      make("b", {}, `${item.number}. `),
      make("span", { dir: "auto" }, item.text[gender]),
      " ",
      make("span", { class: "badge" }, named(item.key)),
      ...(flipped ? [" ", make("span", { class: "badge flip" }, "⇄ flipped")] : []),
    ),
    make("div", { class: "columns" }, ...encounters.map(([name, one]) => offered(item, gender, name, one, place))),
  );
}

/** Show what was said and answered in one context, or in two beside each other. */
async function openTranscript() {
  const ticket = ++opened;
  const target = byId("transcript");
  const [place, seed] = [Number(byId("persona").value), Number(byId("seed").value)];
  const contexts = [...new Set([byId("context").value, byId("other").value])].filter((value) => value !== "").map(Number);
  if (typeof DecompressionStream === "undefined") {
    target.replaceChildren(make("p", { class: "warning" }, "This browser is too old to unpack the transcripts."));
    return;
  }
  target.setAttribute("aria-busy", "true");
  const all = await unpack(place);
  if (ticket !== opened) return; // something else was chosen since
  const persona = data.personas[place];
  const encounters = contexts.map((context) => [data.contexts[context], all[seed * data.contexts.length + context]]);
  const flips = data.items.map((_, item) => {
    const choices = encounters.map(([, encounter]) => choice(encounter, item));
    return choices.length === 2 && !choices.includes(null) && choices[0] !== choices[1];
  });
  const compared = data.items.filter((_, item) => encounters.every(([, encounter]) => encounter.chosen[item] !== null)).length;
  const list = make(
    "ol",
    { class: "questions" },
    ...data.items.map((item, index) => question(item, index, persona.gender, encounters, flips[index])),
  );
  const parts = [
    make("h3", { class: "who" }, named(persona.name), `, seed ${data.seeds[seed]}`),
    make("div", { class: "columns" }, ...encounters.map(([name, encounter]) => chat(persona, name, encounter))),
    make("h3", {}, "Questions, each asked right after the conversation"),
  ];
  if (data.description) parts.push(make("p", { class: "hint", dir: "auto" }, data.description));
  if (encounters.length === 2) {
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
    `This page holds the transcripts of the first ${data.transcripts} of ${data.personas.length} personas; ` +
    "conversations.jsonl and answers.parquet, beside it, have all.";
}
// Not a form: MLflow shows artifacts in a frame that may not submit any.
byId("open").addEventListener("click", openTranscript);
byId("choices").addEventListener("change", () => {
  if (opened) openTranscript();
});
