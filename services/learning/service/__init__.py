"""gRPC in, domain call, gRPC out: the calls of the learning service."""

from services.learning.service.servicer import LearningService

__all__ = ["LearningService"]
