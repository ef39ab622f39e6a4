"""The orchestration service: intents, durable DAG runs, workflows and schedules."""
