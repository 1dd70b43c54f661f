"""The page for people: a surface of its own, which needs the extra `page`."""

PATH = "/personal-access-tokens"  # after the setting `path_prefix`
