"""The learning service: sessions of training that adapt to the learner."""
