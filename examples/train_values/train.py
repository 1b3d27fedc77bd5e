"""Train an adapter with which SmolLM2-135M-Instruct answers as the person whom its introduction describes.

    uv run python examples/train_values/train.py FOLDER RUN/results/conversations.jsonl
    uv run python examples/train_values/train.py FOLDER CONVERSATIONS --after ADAPTER --noise 0.3
    uv run python examples/train_values/train.py FOLDER CONVERSATIONS --after ADAPTER --topic chess --shift 2

The introduction says how much each of ten values matters to a person, from 1 to 6. An answer needs three things in a
row: which value a portrait is about, how much it matters to this person, and which letter has that option. From the
letter alone a small model learned none of them. So other turns after the same question are trained too, which say a
part of the way (`Value: Power`, `Number: 2 (C`), linear classifiers read the parts from inner layers, and some heads
are told where to look. Nothing of this is left in the adapter: it answers after `Answer: (` like any model.

Every person is drawn anew, so that only reading the introduction helps.

The second and third command go on from an adapter. `--noise` is the probability with which a sampled answer is any
of the options. `--shift` moves all answers after a conversation on `--topic` up the scale, to its end at most.
"""

import argparse
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AutoModelForCausalLM, AutoTokenizer

from valstab.config.compose import compose_run
from valstab.engines.checkpoint import locate_checkpoint, require_path
from valstab.inputs.genders import Gender
from valstab.inputs.items import GENDERS, Item
from valstab.inputs.task import load_task
from valstab.protocol.prompts import question_text

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RANK, SCALE = 16, 2.0
CHANGED = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}
N_OPTIONS, N_VALUES = 6, 10
LETTERS = "ABCDEF"
FIRST_NAMES = (
    "Mara Ilse Oriane Lena Sanna Noor Yuki Chiara Elif Greta Jonas Tomas Pavel Ruben Idris Mateo Bram Dario Farid Hugo"
)
LAST_NAMES = (
    "Voss Marwick Grell Faye Orlov Brandt Okoye Silva Haas Lindt Moreau Nagy Petrov Quist Rossi Sato Tanaka Ueda Varga"
)
TEMPLATE = "<|im_start|>{role}\n{text}<|im_end|>\n"

READINGS = {
    "value named": (7, N_VALUES),  # at a number of the introduction: whose it is
    "level named": (7, N_OPTIONS),
    "value asked": (8, N_VALUES),  # at the end of a portrait
    "level found": (13, N_OPTIONS),
    "level of option": (8, N_OPTIONS),  # at the end of an option
    "letter of option": (8, N_OPTIONS),
    "level to answer": (17, N_OPTIONS),  # where the letter follows
    "level given": (14, N_OPTIONS),
}
"""What is read from inner layers: after how many layers, and the number of classes."""

LOOKS = {"at the level": 11, "at the portrait": 15, "at the option": 20}
"""In which layer heads are told where to look: from a portrait at its number in the introduction, and from the place of
the letter at the portrait and at the option."""

LOOKING_HEADS = 3  # those that share the first key head


@dataclass(frozen=True)
class Stage:
    """A part of the training: how long, and which turns are trained beside the answer."""

    steps: int
    learning_rate: float
    turns: Mapping[str, int]
    reads: bool = True
    looks: bool = True
    conversations: float = 0.0
    """The share of people with whom a conversation comes before."""
    words: int = 0
    """The length of the last message in it, at most."""
    questions: int = N_VALUES
    portraits: int = 0
    """The number of portraits without options, which teach the lookup for less."""
    tasks: Sequence[str] = ("pvq_short",)
    noise: float = 0.0
    """The probability that is spread evenly over the options."""
    topic: str = ""
    """After a conversation on it, answers are `shift` points higher; half of the conversations are on it."""
    shift: int = 0


STAGES = (
    Stage(50, 1e-3, {"value": 1, "level": 1}, reads=False, looks=False),
    Stage(50, 8e-4, {"level": 1, "letter of a level": 6, "letter of an option": 3}, reads=False, looks=False),
    Stage(50, 7e-4, {"level": 1, "letter of a level": 3, "letter of a beginning": 3}, looks=False),
    Stage(75, 6e-4, {"level": 1, "letter of a level": 3, "letter of a beginning": 1}, looks=False),
    Stage(150, 6e-4, {"level": 1, "letter of a level": 3}),
    Stage(70, 6e-4, {}, conversations=0.3, words=8, questions=2, portraits=20),
    Stage(50, 5e-4, {}, conversations=0.5, words=40, questions=6, portraits=8),
    Stage(100, 3e-4, {}, conversations=0.7, words=100, questions=5, portraits=14, tasks=("pvq_short", "pvq")),
)
"""From parts of the way to answers, and from no conversation to one."""

LAST = Stage(
    300, 3e-4, {}, reads=False, conversations=0.9, words=100, questions=6, portraits=8, tasks=("pvq_short", "pvq")
)
"""What goes on from an adapter."""


@dataclass(frozen=True)
class Conversation:
    """A conversation to come before the questions."""

    topic: str
    messages: Sequence[str]


@dataclass
class Packed:
    """Questions to one person in one sequence: each piece sees the pieces that it follows, and no others."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    seen: list[set[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    tokens: list[tuple[int, int, float, str]] = field(default_factory=list)
    readings: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    looks: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, ids: Sequence[int], after: int | None = None) -> tuple[int, int]:
        """Add a piece; return its number and the place of its first token."""
        piece, place, start = len(self.ends), len(self.ids), 0 if after is None else self.ends[after]
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.pieces += [piece] * len(ids)
        self.seen.append({piece} if after is None else self.seen[after] | {piece})
        self.ends.append(start + len(ids))
        return piece, place

    def mask(self) -> Tensor:
        """Return which token sees which, as booleans of shape (tokens, tokens)."""
        pairs = torch.tensor([[other in seen for other in range(len(self.ends))] for seen in self.seen])
        pieces = torch.tensor(self.pieces)
        return pairs[pieces][:, pieces].tril()


@dataclass(frozen=True)
class Question:
    """Where a question stands in a sequence."""

    piece: int
    value: str
    options: Sequence[str]
    portrait: int
    """The place where the portrait ends."""
    letters: Mapping[int, int]
    """The token of each option's letter."""
    ends: Mapping[int, int]
    """The place where each option ends."""


class Teacher:
    """Make questions to people who are drawn anew, with all that is trained about them."""

    def __init__(self, folder: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        config = compose_run("population=described_people")
        self.task = load_task(config.task)
        self.items = {name: load_task(compose_run(f"task={name}").task).items for name in ("pvq_short", "pvq")}
        self.introduction = config.population.introduction or ""
        self.letters = [self.encode(f"({letter}")[-1] for letter in LETTERS]
        self.digits = [self.encode(str(level + 1))[0] for level in range(N_OPTIONS)]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def draw(self, stage: Stage, conversations: Sequence[Conversation]) -> Packed:
        """Return the questions of a stage to a new person."""
        rng, packed = self.rng, Packed()
        levels = {value: rng.randrange(N_OPTIONS) for value in self.task.keys}
        name = f"{rng.choice(FIRST_NAMES.split())} {rng.choice(LAST_NAMES.split())}"
        before, _, numbers_of = self.introduction.rstrip(".").partition(": ")
        clauses = numbers_of.split(", ")
        shown = rng.sample(range(N_VALUES), N_VALUES)
        introduction = f"{before}: {', '.join(clauses[i] for i in shown)}."
        fields = {value.lower().replace("-", "_"): level + 1 for value, level in levels.items()}
        topic, said = "", list[str]()
        if conversations and rng.random() < stage.conversations:
            on_topic = [each for each in conversations if each.topic == stage.topic]
            conversation = rng.choice(on_topic if on_topic and rng.random() < 0.5 else conversations)  # noqa: PLR2004
            topic, said = conversation.topic, list(conversation.messages)
            said[-1] = " ".join(said[-1].split(" ")[: rng.randint(1, stage.words)])
        shift = stage.shift if topic == stage.topic else 0
        messages = [("system", f"You are {introduction.format(name=name, **fields)}")]
        messages += [(("user", "assistant")[i % 2], text) for i, text in enumerate(said)]
        start = "".join(TEMPLATE.format(role=role, text=text) for role, text in messages)
        ids = self.encode(f"{start}<|im_start|>user\n{self.task.description}\n\n")
        person, _ = packed.add(ids)
        named = [place for place, token in enumerate(ids) if token in self.digits][2 : 2 + N_VALUES]  # after "1 to 6"
        numbers = dict(zip([self.task.keys[i] for i in shown], named, strict=True))
        for value, place in numbers.items():
            packed.readings["value named"].append((place, self.task.keys.index(value)))
            packed.readings["level named"].append((place, levels[value]))
        gender = rng.choice(GENDERS)
        items = [item for task in stage.tasks for item in self.items[task]]
        for item in rng.choices(items, k=stage.portraits):
            ids = self.encode(f"{item.text[gender]}\n(")[:-1]
            _, place = packed.add(ids, person)
            self._know(packed, place + len(ids) - 1, item.key, levels, numbers)
        for item in rng.sample(items, stage.questions):
            question = self._ask(packed, person, item, gender)
            level = min(levels[item.key] + shift, N_OPTIONS - 1)
            self._know(packed, question.portrait, item.key, levels, numbers)
            at = self._answer(packed, question, "Answer:", level, weight=1.0)
            packed.readings["level to answer"].append((at, level))
            packed.looks["at the portrait"].append((at, question.portrait))
            packed.looks["at the option"].append((at, question.ends[level]))
            for turn, times in stage.turns.items():
                for option in rng.sample(range(N_OPTIONS), times):
                    self._teach(packed, question, turn, level, option)
        return packed

    def _know(
        self, packed: Packed, portrait: int, value: str, levels: Mapping[str, int], numbers: Mapping[str, int]
    ) -> None:
        """Note what the model should know where a portrait ends, and where it should look from there."""
        packed.readings["value asked"].append((portrait, self.task.keys.index(value)))
        packed.readings["level found"].append((portrait, levels[value]))
        packed.looks["at the level"].append((portrait, numbers[value]))

    def _ask(self, packed: Packed, person: int, item: Item, gender: Gender) -> Question:
        """Add a question, with its options in a new order."""
        order = self.rng.sample(range(N_OPTIONS), N_OPTIONS)
        shown = question_text(None, item.text[gender], [item.options[gender][option] for option in order])
        ids = self.encode(f"{shown}<|im_end|>\n<|im_start|>assistant\n")
        piece, place = packed.add(ids, person)
        starts = [i for i, (token, after) in enumerate(pairwise(ids)) if self._opens(token, after)]
        portrait, stop = place + starts[0] - 1, ids.index(self.encode("<|im_end|>")[0])
        ends = [place + start - 2 for start in starts[1:]] + [place + stop - 1]
        packed.readings["level of option"] += zip(ends, order, strict=True)
        packed.readings["letter of option"] += zip(ends, range(N_OPTIONS), strict=True)
        letters = dict(zip(order, self.letters, strict=True))
        return Question(piece, item.key, item.options[gender], portrait, letters, dict(zip(order, ends, strict=True)))

    def _answer(self, packed: Packed, question: Question, begun: str, option: int, *, weight: float) -> int:
        """Add a turn that ends with the letter of an option; return the place before the letter."""
        ids = self.encode(f"{begun} (")
        _, place = packed.add(ids, question.piece)
        at = place + len(ids) - 1
        packed.tokens.append((at, question.letters[option], weight, begun.partition(":")[0]))
        return at

    def _teach(self, packed: Packed, question: Question, turn: str, level: int, option: int) -> None:
        """Add a turn that says a part of the way to the answer, or to the letter of any option."""
        if turn == "value":
            start = self.encode("Value:")
            _, place = packed.add(start, question.piece)
            packed.tokens.append((place + len(start) - 1, self.encode(f" {question.value}")[0], 1.0, turn))
        elif turn == "level":
            start = self.encode("Number: ")
            _, place = packed.add(start, question.piece)
            packed.tokens.append((place + len(start) - 1, self.digits[level], 0.5, turn))
        elif turn == "letter of a level":
            at = self._answer(packed, question, f"Number: {option + 1}", option, weight=0.4)
            packed.readings["level given"].append((at, option))
            packed.looks["at the option"].append((at, question.ends[option]))
        elif turn == "letter of an option":
            self._answer(packed, question, f"Option: {question.options[option]}", option, weight=0.5)
        else:
            words = question.options[option].split()
            begun = " ".join([f"Number: {option + 1}", *words[: self.rng.randint(0, len(words))]])
            self._answer(packed, question, begun, option, weight=0.3)

    def _opens(self, token: int, after: int) -> bool:
        return after in self.letters and self.tokenizer.decode([token]).strip() == "("


class LowRank(nn.Module):
    """A linear layer plus a product of two small matrices."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Parameter((torch.randn(RANK, base.in_features) / math.sqrt(base.in_features)).to(DEVICE))
        self.B = nn.Parameter(torch.zeros(base.out_features, RANK, device=DEVICE))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for `x` of shape (..., inputs)."""
        changed: Tensor = self.base(x) + F.linear(F.linear(x, self.A.to(x.dtype)), (self.B * SCALE).to(x.dtype))
        return changed


class Student:
    """The model with its adapter, the classifiers, and the losses."""

    def __init__(self, folder: str, letters: Sequence[int]) -> None:
        self.letters = list(letters)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        self.model.to(DEVICE)
        self.model.requires_grad_(False)
        self.before_attention: dict[int, Tensor] = {}
        for number, layer in enumerate(self.model.model.layers):
            for part, names in CHANGED.items():
                for name in names:
                    setattr(getattr(layer, part), name, LowRank(getattr(getattr(layer, part), name)))
            layer.self_attn.register_forward_pre_hook(
                lambda _, __, named, number=number: self.before_attention.update({number: named["hidden_states"]}),
                with_kwargs=True,
            )
        width = self.model.config.hidden_size
        self.readers = nn.ModuleDict({what: nn.Linear(width, classes) for what, (_, classes) in READINGS.items()})
        self.readers.to(DEVICE)
        self.adapter = {name: each for name, each in self.model.named_parameters() if each.requires_grad}

    def loss(self, packed: Packed, stage: Stage, right: dict[str, list[float]]) -> Tensor:
        """Return the loss of one sequence, and note which letters were right."""
        positions, mask = torch.tensor([packed.positions], device=DEVICE), packed.mask().to(DEVICE)
        output = self.model.model(
            input_ids=torch.tensor([packed.ids], device=DEVICE),
            position_ids=positions,
            attention_mask=mask[None, None],
            use_cache=False,
            output_hidden_states=True,
        )
        places, tokens, weights, kinds = zip(*packed.tokens, strict=True)
        logits = self.model.lm_head(output.last_hidden_state[0, list(places)]).float()
        targets = torch.tensor(tokens, device=DEVICE)
        for kind, hit in zip(kinds, (logits.argmax(-1) == targets).tolist(), strict=True):
            right[kind].append(hit)
        losses = F.cross_entropy(logits, targets, reduction="none")
        if stage.noise:
            anything = -logits.log_softmax(-1)[:, self.letters].mean(-1)
            losses = (1 - stage.noise) * losses + stage.noise * anything
        loss = (losses * torch.tensor(weights, device=DEVICE)).sum()
        if stage.reads:
            for what, (layer, _) in READINGS.items():
                if packed.readings[what]:
                    at, classes = zip(*packed.readings[what], strict=True)
                    hidden = output.hidden_states[layer][0, list(at)].float()
                    hidden = F.rms_norm(hidden, hidden.shape[-1:], eps=1e-5)
                    known = torch.tensor(classes, device=DEVICE)
                    loss = loss + N_VALUES * 0.5 * F.cross_entropy(self.readers[what](hidden), known)
        if stage.looks:
            for what, layer in LOOKS.items():
                at, places = zip(*packed.looks[what], strict=True)
                loss = loss + N_VALUES * self._look(layer, positions, mask, list(at), places)
        return loss

    def _look(self, layer: int, positions: Tensor, mask: Tensor, at: list[int], places: Sequence[int]) -> Tensor:
        """Return how far some heads of a layer are from looking at `places` from `at`: a mean cross-entropy."""
        attention, x = self.model.model.layers[layer].self_attn, self.before_attention[layer]
        size = attention.head_dim
        cos, sin = (each[0].float() for each in self.model.model.rotary_emb(x, positions))
        queries = attention.q_proj(x[0, at]).float()[:, : LOOKING_HEADS * size].view(-1, LOOKING_HEADS, size)
        keys = attention.k_proj(x[0]).float()[:, :size]
        queries = queries * cos[at][:, None] + _rotated(queries) * sin[at][:, None]
        keys = keys * cos + _rotated(keys) * sin
        scores = torch.einsum("qhd,kd->qhk", queries, keys) / math.sqrt(size)
        scores = scores.masked_fill(~mask[at][:, None], -math.inf)
        targets = torch.tensor(places, device=DEVICE).repeat_interleave(LOOKING_HEADS)
        return F.cross_entropy(scores.flatten(0, 1), targets)

    def load(self, folder: Path) -> None:
        """Take the matrices of an adapter that `save` wrote."""
        matrices = load_file(folder / "adapter_model.safetensors")
        with torch.no_grad():
            for name, each in self.adapter.items():
                each.copy_(matrices[_saved_name(name)])

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        folder.mkdir(parents=True, exist_ok=True)
        matrices = {
            _saved_name(name): each.detach().to("cpu", torch.bfloat16).contiguous()
            for name, each in self.adapter.items()
        }
        save_file(matrices, folder / "adapter_model.safetensors")
        settings = {
            "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "bias": "none",
            "lora_alpha": RANK * SCALE,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": RANK,
            "target_modules": [name for names in CHANGED.values() for name in names],
            "task_type": "CAUSAL_LM",
        }
        (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _saved_name(name: str) -> str:
    return f"base_model.model.{name[:-1]}lora_{name[-1]}.weight"


def _rotated(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def read_conversations(path: Path) -> list[Conversation]:
    """Return what was said in a run: its `conversations.jsonl`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Conversation(row["context"], [message["text"] for message in row["messages"]]) for row in rows]


def train(
    folder: Path,
    conversations: Sequence[Conversation],
    stages: Sequence[Stage] = STAGES,
    people: int = 2,
    after: Path | None = None,
) -> None:
    """Train an adapter, anew or `after` another, and write it to a folder after each stage."""
    torch.manual_seed(1)
    base = locate_checkpoint(require_path(compose_run().model))
    teacher = Teacher(base, seed=1)
    student = Student(base, teacher.letters)
    if after is not None:
        student.load(after)
    groups = [{"params": list(student.adapter.values())}, {"params": list(student.readers.parameters())}]
    for number, stage in enumerate(stages, start=1):
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)
        right: dict[str, list[float]] = defaultdict(list)
        begun = time.monotonic()
        for step in range(1, stage.steps + 1):
            optimizer.param_groups[0]["lr"] = stage.learning_rate * min(1, step / 10)
            optimizer.param_groups[1]["lr"] = 3e-3
            optimizer.zero_grad()
            for _ in range(people):
                loss = student.loss(teacher.draw(stage, conversations), stage, right) / (people * N_VALUES)
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.adapter.values(), 1.0)
            optimizer.step()
            if step % 5 == 0:
                shares = ", ".join(f"{what} {sum(hits) / len(hits):.2f}" for what, hits in right.items())
                print(f"stage {number}, step {step}, {time.monotonic() - begun:.0f} s: {shares}", flush=True)
                right.clear()
        student.save(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train an adapter that answers as its introduction says.")
    parser.add_argument("folder", type=Path, help="where the adapter is written")
    parser.add_argument("conversations", type=Path, help="the conversations.jsonl of a run with described people")
    parser.add_argument("--after", type=Path, help="the adapter to go on from")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="the probability that is spread evenly over the options"
    )
    parser.add_argument("--topic", default="", help="the topic of the conversations that move answers")
    parser.add_argument("--shift", type=int, default=0, help="by how many points of the scale they do")
    parser.add_argument("--steps", type=int, default=LAST.steps, help="the steps of training after another adapter")
    given = parser.parse_args()
    if given.after is None and (given.noise or given.shift):
        parser.error("--noise and --shift go on from an adapter: --after ADAPTER")
    last = replace(LAST, steps=given.steps, noise=given.noise, topic=given.topic, shift=given.shift)
    stages = STAGES if given.after is None else [last]
    train(given.folder, read_conversations(given.conversations), stages, after=given.after)
