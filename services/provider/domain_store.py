"""Every SQL statement about the names of domains, each a named function inside the caller's transaction."""

from collections.abc import Collection, Mapping

from mesh.db import Transaction


async def named(tx: Transaction, name: str) -> str:
    """The domain that a name stands for; the name itself when it is nobody's other name."""
    return (await _names(tx)).get(name, name)


async def _names(tx: Transaction) -> Mapping[str, str]:
    async def load() -> Mapping[str, str]:
        return {row["name"]: row["domain"] for row in await tx.fetch_all("SELECT name, domain FROM domain_name")}

    return await tx.remembered("domain_name", None, load)


async def put_names(tx: Transaction, domain: str, names: Collection[str]) -> None:
    """Sets under which other names a domain is known; what models earned under one of them before is the domain's from then on."""
    known = await _names(tx)
    before = {name for name, of in known.items() if of == domain}
    wanted = {name for name in names if name and name != domain}
    for name in {*(before - wanted), *({domain} & known.keys())}:
        await tx.execute("DELETE FROM domain_name WHERE name = :name", {"name": name})
    for name in sorted(wanted - before):
        await tx.execute(
            "INSERT INTO domain_name (name, domain) VALUES (:name, :domain)"
            " ON CONFLICT (name) DO UPDATE SET domain = excluded.domain",
            {"name": name, "domain": domain},
        )
        await _move_feedback(tx, name, domain)


async def _move_feedback(tx: Transaction, name: str, domain: str) -> None:
    await tx.execute(
        "INSERT INTO feedback (provider_id, model, domain, scores, total)"
        " SELECT provider_id, model, :domain, scores, total FROM feedback AS other WHERE other.domain = :name"
        " ON CONFLICT (provider_id, model, domain)"
        " DO UPDATE SET scores = feedback.scores + excluded.scores, total = feedback.total + excluded.total",
        {"name": name, "domain": domain},
    )
    await tx.execute("DELETE FROM feedback WHERE domain = :name", {"name": name})
