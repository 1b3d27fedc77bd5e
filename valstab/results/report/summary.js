// The sections that summarise the run. valstab/results/report/overview.py makes `data`.

const data = JSON.parse(byId("data").textContent);
const personaNames = data.personas.map((persona) => persona.name);
const LISTED = 5; // personas in each list of extremes, if not all are shown
// Math.min(...values) fails with very many values.
const profileRange = data.profiles
  .flat(2)
  .filter((value) => value !== null)
  .reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

function showHead() {
  document.title = `${data.title} – valstab`;
  byId("title").textContent = data.title;
  const people = data.permutations ? "repetition" : "persona";
  const factors = [
    plural(data.seeds.length, "seed"),
    plural(data.contexts.length, "context"),
    plural(data.personas.length, people),
    plural(data.items.length, "item"),
  ];
  for (const label of document.getElementsByClassName("person")) label.textContent = data.permutations ? "Repetition" : "Persona";
  byId("size").textContent = `${factors.join(" × ")} = ${plural(data.queries, "question")}`;
}

function showHeadline() {
  const tile = (title, value, note) =>
    make("div", { class: "tile" }, make("h3", {}, title), make("p", { class: "big" }, value), make("p", { class: "hint" }, note));
  const tiles = data.headline.map(({ title, value, note }) => tile(title, value, note));
  tiles.push(tile("Answer mass", number(data.answer_mass), "the mean probability on the offered letters"));
  byId("headline").append(...tiles);
  byId("warnings").append(...data.warnings.map((text) => make("li", { class: "warning" }, text)));
}

function showPairs() {
  for (const { measure, title, value } of data.headline) {
    const values = data.context_pairs[measure];
    if (!values) continue;
    const readout = make("p", { class: "readout", "aria-live": "polite" });
    const table = heatMap({
      caption: `${title} ${value}`,
      rows: data.contexts,
      columns: data.contexts,
      values,
      strength: (value) => value,
      describe: (row, column, value) => `${data.contexts[row]} – ${data.contexts[column]}: ${number(value)}`,
      readout,
    });
    byId("pairs").append(make("div", {}, make("div", { class: "scroll" }, table), readout));
  }
  if (!byId("pairs").hasChildNodes()) byId("pairs").append(make("p", {}, "There is no stability between contexts."));
}

function showExtremes() {
  const ranked = (units) =>
    units
      .map((one, place) => ({ ...one, place }))
      .filter((one) => one.mean !== null)
      .sort((a, b) => b.mean - a.mean || a.place - b.place);
  const table = (caption, rows, label) =>
    bars({
      caption,
      rows: rows.map((one) => ({ label: label(one.place), value: one.mean, error: one.se, text: withError(one.mean, one.se, 2) })),
      low: Math.floor(4 * Math.min(0, ...rows.map((one) => one.mean - one.se))) / 4,
      high: 1,
    });
  const keys = ranked(data.per_key);
  const people = ranked(data.per_persona);
  const choose = (place) => {
    const button = make("button", { type: "button", class: "link" }, named(personaNames[place]));
    button.addEventListener("click", () => {
      choosePersona(place);
      byId("profiles").scrollIntoView();
      byId("profile-persona").focus({ preventScroll: true });
    });
    return button;
  };
  byId("luck").textContent = data.luck;
  const parts = [];
  if (keys.length) parts.push(table("Rank-order stability of each key, most stable first", keys, (place) => named(data.keys[place])));
  if (people.length > 2 * LISTED) {
    parts.push(
      make(
        "div",
        {},
        table("Ipsative stability: most stable", people.slice(0, LISTED), choose),
        table("Ipsative stability: least stable", people.slice(-LISTED).reverse(), choose),
      ),
    );
  } else if (people.length) parts.push(table("Ipsative stability, most stable first", people, choose));
  byId("stable").append(...(parts.length ? parts : [make("p", {}, "There is no stability between contexts.")]));
}

/** Show the scores of the persona at an index: keys by contexts, and their spread. */
function showProfile(place) {
  const values = data.profiles[place];
  const [low, high] = profileRange;
  const limit = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const persona = data.personas[place];
  const readout = byId("profile-readout");
  readout.textContent = "";
  const stable = data.per_persona[place];
  byId("profile-note").replaceChildren(
    ...(persona.introduction ? ["The model’s instruction: “", named(persona.instruction), "” "] : []),
    `${data.centred ? "Centred scores" : "Scores"}, mean over ${plural(data.seeds.length, "seed")}.`,
    stable ? ` Ipsative stability ${withError(stable.mean, stable.se)}.` : "",
  );
  byId("profile").replaceChildren(
    heatMap({
      caption: named(persona.name),
      rows: data.keys,
      columns: data.contexts,
      values,
      strength: (value) => (data.centred ? value / limit : (value - low) / (high - low || 1)),
      describe: (row, column, value) => `${persona.name}, ${data.keys[row]}, ${data.contexts[column]}: ${number(value)}`,
      readout,
      extra:
        data.contexts.length > 1
          ? { head: make("th", { scope: "col", class: "spread" }, "spread"), cell: (row) => make("td", {}, dots(values[row], low, high)) }
          : null,
    }),
  );
}

function choosePersona(place) {
  byId("profile-persona").value = place;
  showProfile(place);
  if (place < data.transcripts) byId("persona").value = place;
}

function showQuality() {
  const parts = [];
  const bias = data.position_bias;
  if (bias) {
    const even = 1 / bias.letters.length;
    const rows = bias.letters.map((letter, place) => ({ label: `(${letter})`, value: bias.shares[place], text: percent(bias.shares[place]) }));
    const note =
      `Options are shuffled, so without position bias each letter has ${percent(even)} of the answers (the line). ` +
      `For that, ${percent(bias.excess)} of the answers would have to change.`;
    parts.push(
      make("div", {}, bars({ caption: "Answers by position", rows, low: 0, high: Math.max(...bias.shares, 2 * even), reference: even }), make("p", { class: "hint" }, note)),
    );
  }
  const spread = data.mass_spread;
  if (spread) {
    const bins = spread.shares.length;
    const rows = spread.shares.map((share, place) => ({
      label: `${number(place / bins, 1)}–${number((place + 1) / bins, 1)}`,
      value: share,
      text: percent(share),
    }));
    const note = `${percent(spread.low)} of the questions have an answer mass below ${spread.limit}.`;
    parts.push(make("div", {}, bars({ caption: "Answer mass: share of questions", rows: rows.reverse(), low: 0, high: 1 }), make("p", { class: "hint" }, note)));
    const contexts = data.contexts.map((name, place) => ({
      label: named(name),
      value: data.mass_per_context[place],
      text: number(data.mass_per_context[place]),
    }));
    parts.push(bars({ caption: "Mean answer mass in each context", rows: contexts, low: 0, high: 1 }));
  } else parts.push(make("p", {}, "The answers were read from sampled text, so their probabilities are unknown."));
  byId("quality").append(...parts);
}

function showRun() {
  const cost = data.work;
  const facts = [
    ["Task", `${data.task}, wording ${data.wording}`],
    ["Wording SHA-256", data.wording_sha256],
    ["Contexts", data.contexts.join(", ")],
    ["Seeds", data.seeds.join(", ")],
    ["Undefined correlations", percent(data.undefined_fraction, 2)],
    ["Answers that could not be read", percent(data.unparsed_fraction, 2)],
    ["Answers read", data.answers_read.replace("answers read: ", "")],
    ["Questions per second", number(cost.queries_per_second, 1)],
    ["Seconds", `${number(cost.conversing_seconds, 1)} conversing, ${number(cost.asking_seconds, 1)} asking`],
    ["Tokens", `${cost.encoded_tokens.toLocaleString("en")} encoded, ${cost.generated_tokens.toLocaleString("en")} generated`],
    ["Reused from the store", `${plural(cost.reused_conversations, "conversation")}, ${plural(cost.reused_answers, "answer")}`],
    ["Peak memory", `${number(cost.peak_memory_gib, 1)} GiB`],
  ];
  if (cost.usd !== null) facts.push(["Price", `${number(cost.usd, 2)} US dollars`]);
  byId("run").append(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)]));
  if (data.prompt === null) return;
  byId("prompt").append(make("h3", {}, "The first question as the model read it"), make("pre", { dir: "auto" }, data.prompt));
}

showHead();
showHeadline();
showPairs();
showExtremes();
fill(byId("profile-persona"), personaNames);
byId("profile-persona").addEventListener("change", (event) => choosePersona(Number(event.target.value)));
showProfile(0);
showQuality();
showRun();
