"""The synthetic writers that a recipe asks for, and their entry on the card of the weights."""

from __future__ import annotations

from collections.abc import Mapping

from model.networks.card import TrainingData
from model.synthetic.pool import Population
from model.synthetic.writer import Habits


def recipe_population(
    writers: int = 1000,
    genuine: int = 24,
    forgeries: int = 24,
    forgers: int = 4,
    seed: int = 1_000_000,
    habits: Mapping[str, float] | None = None,
) -> Population:
    """Return the population for the options of a recipe's data set ``synthetic``.

    Parameters
    ----------
    writers : int
        Number of writers.
    genuine, forgeries : int
        Number of different specimens of each writer.
    forgers : int
        Number of forgers for each writer.
    seed : int
        Seed of the first writer; validation must use other seeds than training.
    habits : mapping
        Fields of :class:`model.synthetic.writer.Habits`: ``variation``, ``diversity``, ``error``.
    """
    return Population(writers, genuine, forgeries, forgers, seed, Habits(**habits or {}))


def synthetic_data(population: Population) -> TrainingData:
    """Return the entry of a population on the card of the weights."""
    return TrainingData(
        name="synthetic",
        terms="permissive",
        signers=population.writers,
        signatures=population.writers * (population.genuine + population.forgeries),
        citation="drawn by this project's sigma-lognormal synthetic writer",
    )
