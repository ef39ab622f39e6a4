"""Fills a running mesh with believable data through its REST API: `python examples/fill.py [127.0.0.1:3000] [seed]`.

Learners bring weeks of reviews and train, runs succeed, fail and wait, tasks stand on schedules, budgets are spent, this repository
is indexed. Nothing but the standard library is needed. Every write has a request id that is made from the seed, so the same seed
again changes nothing.
"""

import http.client
import json
import random
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

Json = dict[str, Any]
# how good each learner is at the beginning, and how much better with each round
LEARNERS = {"noor": (0.75, 0.004), "mika": (0.55, 0.008), "tomas": (0.4, 0.012), "ines": (0.65, 0.002)}
DOMAINS = ["python", "sql", "algorithms", "security", "distributed-systems"]
MODELS = {
    ("anthropic", "claude-sonnet-4-5"): 0.35, ("openai", "gpt-5-mini"): 0.3,
    ("google", "gemini-2.5-flash"): 0.2, ("mistral", "mistral-large-latest"): 0.15,
}  # fmt: skip
CARDS = [
    *(f"python.iteration.{name}" for name in ("enumerate", "dict-comprehension", "generator", "late-binding")),
    *(f"python.data-model.{name}" for name in ("mutable-default", "eq-hash", "dataclass", "descriptor")),
    *(f"sql.querying.{name}" for name in ("null-compare", "having", "latest-per-group", "running-total")),
    *(f"git.everyday.{name}" for name in ("staging", "amend", "message")),
    *(f"writing.clarity.{name}" for name in ("active", "cut", "old-new")),
]
LEARNING = "tooloo.learning.v1.LearningService"
NOWHERE = "00000000-0000-7000-8000-000000000000"


class Client:
    """Calls under request ids that the seed and the part's name decide."""

    def __init__(self, target: str, seed: str, part: str) -> None:
        self._at = target, seed, part
        self._connection = http.client.HTTPConnection(target, timeout=60)
        self._ids = (str(uuid.uuid5(uuid.NAMESPACE_URL, f"tooloo:fill:{seed}:{part}:{number}")) for number in range(10**6))
        self.random = random.Random(f"{seed}/{part}")  # noqa: S311 # nothing secret

    def beside(self, name: str) -> "Client":
        """A client for what belongs to this part but may be left out."""
        target, seed, part = self._at
        return Client(target, seed, f"{part}/{name}")

    def post(self, path: str, body: Json) -> Json:
        """The answer to a write; SystemExit with the refusal of anything but success."""
        headers = {"content-type": "application/json", "idempotency-key": next(self._ids)}
        return self._ask("POST", path, json.dumps(body), headers)

    def get(self, path: str) -> Json:
        """The answer to a read."""
        return self._ask("GET", path, "", {})

    def _ask(self, verb: str, path: str, body: str, headers: dict[str, str]) -> Json:
        self._connection.request(verb, f"/api/v1/{path}", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path} was refused: {text.decode()}")
        content: Json = json.loads(text)
        return content


def weeks_before(client: Client, user: str) -> None:
    """Imports what the learner reviewed elsewhere in the last weeks: each card again and again, at growing intervals."""
    # the times below count from now, so a second time would be another log
    if client.get(f"reviews?userId={user}&pageSize=1")["reviews"]:
        return
    now, skill = datetime.now(UTC), LEARNERS[user][0]
    log: list[tuple[datetime, str, float]] = []
    for card in client.random.sample(CARDS, 14):
        time = now - timedelta(days=client.random.uniform(15, 45))
        for wait in (1.5, 4, 9, 20):
            log.append((time, card, min(1.0, max(0.0, client.random.gauss(skill + 0.15, 0.2)))))
            time += timedelta(days=wait * client.random.uniform(0.8, 1.3))
    past = [{"cardId": card, "time": time.isoformat(), "score": score} for time, card, score in sorted(log) if time < now]
    client.post("reviews/import", {"userId": user, "reviews": past})


def learner(client: Client, user: str) -> str:
    """Sessions in three domains, each round scored by how good the learner is by then."""
    weeks_before(client.beside("weeks before"), user)
    skill, gain = LEARNERS[user]
    rounds = 0
    for focus in [domain for domain in client.random.sample(DOMAINS, 3) for _ in range(2)]:
        count = client.random.randint(3, 6)
        answer = client.post("training/start", {"userId": user, "focusArea": focus, "roundCount": count})
        session, round_id = answer["sessionId"], answer["roundId"]
        for _ in range(count):
            score = min(1.0, max(0.0, client.random.gauss(skill + gain * rounds, 0.2)))
            feedback = {"userId": user, "sessionId": session, "roundId": round_id, "score": round(score, 2)}
            round_id = client.post("coach/feedback", feedback)["nextRoundId"]
            rounds += 1
    client.post("training/start", {"userId": user, "focusArea": "testing", "roundCount": 5})
    return f"{user} trained {rounds} rounds"


def drill(fails: bool) -> Json:
    """A DAG that starts a training, looks at it and at the learner, and ends with a model's comment; one node may fail."""
    session = NOWHERE if fails else "${nodes.train.output.sessionId}"
    user = "${input.user:-noor}"
    ask = [{"text": "Cheer up ${input.user:-noor}: due now ${nodes.overview.output.workload.dueNow}"}]
    return {"nodes": [
        {"id": "train", "call": f"{LEARNING}/StartTraining", "input": {"userId": user, "focusArea": "drills", "roundCount": 1}},
        {"id": "overview", "call": f"{LEARNING}/GetTrainingOverview", "input": {"userId": user}},
        {"id": "due", "call": f"{LEARNING}/ListDueCards", "input": {"userId": user, "within": "604800s"}},
        {"id": "session", "call": f"{LEARNING}/GetSession", "input": {"userId": user, "sessionId": session},
         "dependsOn": ["train"]},
        {"id": "choose", "call": "tooloo.provider.v1.ProviderService/SelectProvider", "input": {"query": "cheer up"},
         "dependsOn": ["due"]},
        {"id": "cheer", "call": "tooloo.provider.v1.CompletionService/Complete", "input": {"messages": ask, "model": "echo"},
         "dependsOn": ["session", "choose"]},
    ]}  # fmt: skip


def runs(client: Client) -> str:
    """Workflows, and runs that succeed, fail, wait for their next attempt and were cancelled."""
    client.post("workflows", {"workflowId": "morning-drill", "description": "Starts a drill", "dag": drill(fails=False)})
    states: list[str] = []
    for number in range(12):
        body = {"dag": drill(fails=number % 4 == 3), "userId": client.random.choice(list(LEARNERS)), "wait": "10s"}
        if number % 4 == 0:
            body = {"workflowId": "morning-drill", "userId": "noor", "wait": "10s"}
        states.append(client.post("dag/execute", body)["state"])
    waits = {"maxAttempts": 10, "backoff": "60s", "codes": ["NOT_FOUND"]}
    missing = {"id": "arrives", "call": f"{LEARNING}/GetSession", "input": {"userId": "mika", "sessionId": NOWHERE}, "retry": waits}
    after = {"id": "look", "call": f"{LEARNING}/GetTrainingOverview", "input": {"userId": "mika"}, "dependsOn": ["arrives"]}
    run_ids = [client.post("dag/execute", {"dag": {"nodes": [missing, after]}, "userId": "mika"})["runId"] for _ in range(2)]
    client.post(f"runs/{run_ids[0]}/cancel", {"reason": "the session will not come"})
    return f"{states.count('RUN_STATE_SUCCEEDED')} of {len(states)} runs succeeded, one waits"


def schedules(client: Client) -> str:
    """Tasks of every kind; one is paused."""
    client.post("workflows", {"workflowId": "weekly-look", "description": "Looks at a learner's week", "dag": drill(fails=False)})
    new_year = f"{datetime.now(UTC).year + 1}-01-01T09:00:00Z"
    for name, when in (
        ("morning drill", {"cron": "30 7 * * MON-FRI", "timeZone": "Europe/Berlin"}),
        ("weekly look", {"cron": "0 18 * * SUN", "timeZone": "Europe/Berlin"}),
        ("hourly look", {"every": "3600s"}),
        ("new year", {"at": new_year}),
    ):
        made = client.post("task/schedule", {"name": name, "schedule": when, "workflowId": "weekly-look", "userId": "noor"})
        if name == "hourly look":
            client.post(f"tasks/{made['taskId']}/pause", {})
    return "4 tasks stand on schedules"


def usd(amount: float) -> Json:
    """An amount as google.type.Money."""
    units, nanos = divmod(round(amount * 1e9), 10**9)
    return {"currencyCode": "USD", "units": str(units), "nanos": nanos}


def spending(client: Client) -> str:
    """Budgets of people and of a provider, calls that spend them, and selections with ratings."""
    for budget in (
        {"budgetId": "noor-a-month", "displayName": "Noor, a month", "scope": {"userId": "noor"}, "limit": usd(2)},
        {"budgetId": "anthropic-a-week", "displayName": "Anthropic, a week", "scope": {"providerId": "anthropic"},
         "window": {"period": "PERIOD_WEEK"}, "limit": usd(4)},
        {"budgetId": "team-red-a-day", "displayName": "Team red, a day", "scope": {"labels": {"team": "red"}},
         "window": {"period": "PERIOD_DAY"}, "limit": usd(1)},
    ):  # fmt: skip
        client.post("budget/set", {"budget": budget})
    for number in range(120):
        (provider, model), user = (
            client.random.choices(list(MODELS), list(MODELS.values()))[0],
            client.random.choice(list(LEARNERS)),
        )
        tokens = client.random.randint(400, 9000), client.random.randint(80, 1800)
        body = {"providerId": provider, "model": model, "userId": user, "inputTokens": tokens[0], "outputTokens": tokens[1]}
        body |= {"cost": usd(client.random.lognormvariate(-3.6, 0.8)), "labels": {"team": "red" if number % 3 else "blue"}}
        client.post("budget/track", body | {"outcome": "OUTCOME_SUCCESS", "latency": f"{client.random.uniform(0.4, 6):.3f}s"})
    ways = ["STRATEGY_BALANCED", "STRATEGY_CHEAPEST", "STRATEGY_BEST", "STRATEGY_FASTEST"]
    for number, user in enumerate([*LEARNERS] * 5):
        body = {"userId": user, "query": "Explain " + "decorators " * number, "focusArea": client.random.choice(DOMAINS)}
        chosen = client.post("providers/select", body | {"estimatedTokens": 400 * (number + 1), "strategy": ways[number % 4]})
        client.post("selection/rate", {"selectionId": chosen["selectionId"], "score": round(client.random.uniform(0.5, 1), 2)})
    for user in LEARNERS:
        client.post("completions/create", {"userId": user, "model": "echo", "messages": [{"text": f"What is next, asks {user}?"}]})
    return "120 calls spent money, 20 selections were made"


def code(client: Client) -> str:
    """The folder where the mesh was started, as the repository "tooloo"."""
    found = client.post("context/analyze", {"path": ".", "repoId": "tooloo"})["repository"]
    return f"indexed {found['files']} files with {found['symbols']} symbols"


PARTS: dict[str, Callable[[Client], str]] = {user: partial(learner, user=user) for user in LEARNERS}
PARTS |= {"runs": runs, "schedules": schedules, "spending": spending, "code": code}


def main(target: str, seed: str) -> None:
    """Fills the mesh, every part beside the others, and says with what."""
    with ThreadPoolExecutor(len(PARTS)) as pool:
        for done in [pool.submit(part, Client(target, seed, name)) for name, part in PARTS.items()]:
            print(done.result())
    print(f"the mesh at http://{target}/ is filled (seed {seed})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:3000", sys.argv[2] if len(sys.argv) > 2 else "1")
