// Scrolling with a finger: xterm.js knows wheels only, so a drag becomes wheel events, with a run-out.
const DECAY = 0.95;
const LEAST_SPEED = 0.02;

/** Let one finger scroll `area`; the events go to `target`, as a wheel's would: lines, arrows or reports of the mouse. */
export function scrollByTouch(area: HTMLElement, target: () => Element | null, signal: AbortSignal): void {
  let at: { y: number; time: number } | null = null;
  let speed = 0;
  let frame = 0;
  const wheel = (deltaY: number) => {
    target()?.dispatchEvent(new WheelEvent("wheel", { deltaY, bubbles: true, cancelable: true, composed: true }));
  };
  const runOut = (before: number) => {
    frame = requestAnimationFrame((now) => {
      speed *= DECAY ** ((now - before) / 16);
      if (Math.abs(speed) < LEAST_SPEED || signal.aborted) return;
      wheel(speed * (now - before));
      runOut(now);
    });
  };
  const start = (event: TouchEvent) => {
    cancelAnimationFrame(frame);
    const touch = event.touches.length === 1 ? event.touches[0] : undefined;
    at = touch ? { y: touch.clientY, time: event.timeStamp } : null;
    speed = 0;
  };
  const move = (event: TouchEvent) => {
    const touch = event.touches[0];
    if (!at || !touch || event.touches.length !== 1) return;
    const deltaY = at.y - touch.clientY;
    speed = deltaY / Math.max(1, event.timeStamp - at.time);
    at = { y: touch.clientY, time: event.timeStamp };
    event.preventDefault(); // the page does not scroll too
    if (deltaY !== 0) wheel(deltaY);
  };
  const end = (event: TouchEvent) => {
    if (at && event.timeStamp - at.time < 60) runOut(performance.now());
    at = null;
  };
  area.addEventListener("touchstart", start, { passive: true, signal });
  area.addEventListener("touchmove", move, { passive: false, signal });
  area.addEventListener("touchend", end, { signal });
  area.addEventListener("touchcancel", end, { signal });
}
