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
  // A script of one line tells whether there is a newer page: the megabytes of it are read only then.
  let newer = false;
  lab.live = (stamp) => { newer = stamp !== document.documentElement.dataset.stamp; };
  const look = () => {
    const script = lab.make("script", { src: `${encodeURIComponent(lab.data.live)}?${Date.now()}` });
    const then = (known) => {
      script.remove();
      if (newer || !known) reload();
      else setTimeout(look, 1000 * lab.data.refresh);
    };
    script.addEventListener("load", () => then(true));
    script.addEventListener("error", () => then(false)); // a browser that reads no file beside: load all, as ever
    document.head.append(script);
  };
  setTimeout(look, 1000 * lab.data.refresh);
}
