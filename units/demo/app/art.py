"""The goods, drawn: each picture is a few shapes in a 120 x 120 square, so a page is one file."""
from __future__ import annotations

_SHAPES = {
    "mug": (
        "#e8efe9",
        """
            <path d="M78 50h10a12 12 0 0 1 0 26h-10" fill="none" stroke="#2f5d50" stroke-width="7"/>
            <rect x="32" y="38" width="48" height="52" rx="7" fill="#3f7a69"/>
            <rect x="32" y="38" width="48" height="7" rx="3.5" fill="#f7f4ec"/>
            <path d="M46 28c-4-6 4-8 0-14M60 28c-4-6 4-8 0-14" fill="none" stroke="#a9beb5"
             stroke-width="3" stroke-linecap="round"/>
        """,
    ),
    "lamp": (
        "#f6ecd9",
        """
            <path d="M60 52l34 44H26z" fill="#f2c14e" opacity=".35"/>
            <path d="M46 24h28l14 28H32z" fill="#c8553d"/>
            <circle cx="60" cy="54" r="7" fill="#ffe9a8"/>
            <path d="M60 24V12" stroke="#5b4636" stroke-width="4" stroke-linecap="round"/>
        """,
    ),
    "plant": (
        "#e6eedd",
        """
            <path d="M60 74C38 68 32 44 36 28c18 6 26 24 24 46z" fill="#5a8f4d"/>
            <path d="M60 74c20-6 26-26 24-44-16 6-26 22-24 44z" fill="#7bb069"/>
            <path d="M60 76V40" stroke="#3d6b34" stroke-width="3"/>
            <path d="M40 74h40l-6 28H46z" fill="#c9825a"/>
            <rect x="37" y="70" width="46" height="8" rx="3" fill="#b36f49"/>
        """,
    ),
    "book": (
        "#e5e9f1",
        """
            <rect x="32" y="24" width="56" height="74" rx="4" fill="#33507e"/>
            <rect x="32" y="24" width="11" height="74" rx="4" fill="#263d61"/>
            <rect x="54" y="40" width="24" height="13" rx="2" fill="#f5f1e6"/>
            <path d="M80 24v84l-6-6-6 6V98" fill="#c8553d"/>
        """,
    ),
    "clock": (
        "#efe7ee",
        """
            <circle cx="60" cy="60" r="38" fill="#6d5278"/>
            <circle cx="60" cy="60" r="31" fill="#fbf8f1"/>
            <path d="M60 38v22l15 9" fill="none" stroke="#3b2e41"
             stroke-width="4.5" stroke-linecap="round" stroke-linejoin="round"/>
            <circle cx="60" cy="60" r="3.5" fill="#c8553d"/>
        """,
    ),
    "chair": (
        "#f0e8dc",
        """
            <rect x="38" y="18" width="44" height="32" rx="6" fill="#b98b57"/>
            <path d="M44 48v16M76 48v16M42 72l-6 32M78 72l6 32" stroke="#8f683d"
             stroke-width="6" stroke-linecap="round"/>
            <rect x="34" y="62" width="52" height="11" rx="5" fill="#cf9f68"/>
        """,
    ),
}


def picture(slug: str) -> str:
    """An inline SVG; a plain card for goods that nobody has drawn yet."""
    ground, shapes = _SHAPES.get(slug, ("#eeeeee", ""))
    head = f'viewBox="0 0 120 120" aria-hidden="true" style="background:{ground}"'
    return f"<svg {head}>{shapes}</svg>"
