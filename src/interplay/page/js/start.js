/* Everything is there: draw, fill, and follow. */
lab.figures.all();
lab.table?.start();

// A page that nobody looks at waits until somebody does; one being dragged or opened in a menu is not torn away.
if (lab.data.refresh) {
  let pressed = false;
  window.addEventListener("pointerdown", () => { pressed = true; });
  window.addEventListener("pointerup", () => { pressed = false; });
  window.addEventListener("pointercancel", () => { pressed = false; });
  const free = (then) => {
    if (document.hidden || pressed) setTimeout(() => free(then), 1000);
    else { lab.table?.save(); then(); }
  };
  const read = (name, loaded, failed) => {
    const script = lab.make("script", { src: `${encodeURIComponent(name)}?${Date.now()}` });
    script.addEventListener("load", () => { script.remove(); loaded(); });
    script.addEventListener("error", () => { script.remove(); failed(); });
    document.head.append(script);
  };
  const reload = () => free(() => location.reload()); // a browser that reads no file beside: load all, as ever
  // A newer page comes without its libraries, which are most of it and which this one has already.
  lab.next = (html) => free(() => {
    const libraries = [...document.querySelectorAll("script[data-library]")].map((each) => each.textContent);
    lab.ending.abort();
    document.open();
    document.write(libraries.reduce((text, library, number) => text.split(`/* library ${number} */`).join(library), html));
    document.close();
  });
  // A script of one line tells whether there is one.
  let newer = false;
  lab.live = (stamp) => { newer = stamp !== document.documentElement.dataset.stamp; };
  const wait = () => setTimeout(look, 1000 * lab.data.refresh);
  const look = () => read(lab.data.live, () => (newer ? read(lab.data.next, () => {}, reload) : wait()), reload);
  wait();
}
