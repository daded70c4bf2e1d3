"""Write every dashboard's JSON."""

from observability.dashboards.files import FOLDER, render_all

if __name__ == "__main__":
    for name, text in render_all().items():
        (FOLDER / name).write_text(text)
