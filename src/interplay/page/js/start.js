/* Everything is there: draw, fill, and follow. */
lab.figures.all();
lab.table?.start();

// A page that nobody looks at waits until somebody does; one being dragged or opened in a menu is not torn away.
if (lab.data.refresh) {
  let pressed = false;
  window.addEventListener("pointerdown", () => { pressed = true; });
  window.addEventListener("pointerup", () => { pressed = false; });
  window.addEventListener("pointercancel", () => { pressed = false; });
  const reload = () => {
    if (document.hidden || pressed) setTimeout(reload, 1000);
    else { lab.table?.save(); location.reload(); }
  };
  setTimeout(reload, 1000 * lab.data.refresh);
}
