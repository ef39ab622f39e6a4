"""The analytics service: counts, latencies, health and badges, made from every event of the mesh."""
