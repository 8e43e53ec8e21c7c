"""Programs elsewhere that outlive every cut of the link to them: they belong to the project's holder there."""
