// Scrolling with a finger, which xterm.js leaves to whoever embeds it: a drag, with a run-out.
const DECAY = 0.95;
const LEAST_SPEED = 0.02;

/** Scrolls by so many pixels. */
type Scroll = (deltaX: number, deltaY: number) => void;

/** Let one finger scroll what is in `area`. */
export function scrollByTouch(area: HTMLElement, scroll: Scroll, signal: AbortSignal): void {
  let at: { x: number; y: number; time: number } | null = null;
  let speed = 0;
  let frame = 0;
  const runOut = (before: number) => {
    frame = requestAnimationFrame((now) => {
      speed *= DECAY ** ((now - before) / 16);
      if (Math.abs(speed) < LEAST_SPEED || signal.aborted) return;
      scroll(0, speed * (now - before));
      runOut(now);
    });
  };
  const start = (event: TouchEvent) => {
    cancelAnimationFrame(frame);
    const touch = event.touches.length === 1 ? event.touches[0] : undefined;
    at = touch ? { x: touch.clientX, y: touch.clientY, time: event.timeStamp } : null;
    speed = 0;
  };
  const move = (event: TouchEvent) => {
    const touch = event.touches[0];
    if (!at || !touch || event.touches.length !== 1) return;
    const deltaX = at.x - touch.clientX;
    const deltaY = at.y - touch.clientY;
    speed = deltaY / Math.max(1, event.timeStamp - at.time);
    at = { x: touch.clientX, y: touch.clientY, time: event.timeStamp };
    event.preventDefault(); // the page does not scroll too
    scroll(deltaX, deltaY);
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
