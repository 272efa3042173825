"""What all models of the datasets service share."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Tolerant on input: unknown keys are ignored, and numbers pass as ids."""

    model_config = ConfigDict(
        extra="ignore", coerce_numbers_to_str=True, protected_namespaces=(), frozen=True
    )
