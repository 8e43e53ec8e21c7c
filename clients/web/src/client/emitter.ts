/** Listeners by event name. */

type Listener<Event> = (event: Event) => void;

/** Calls listeners in the order they came; one that throws neither stops the others nor whoever emits. */
export class Emitter<Events extends object> {
  readonly #listeners: { [Name in keyof Events]?: Set<Listener<Events[Name]>> } = {};

  /** Listen; returns how to stop that. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    this.#listeners[name] ??= new Set();
    const listeners: Set<Listener<Events[Name]>> = this.#listeners[name];
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** Tell all listeners. What they throw is reported as uncaught, as a DOM event's listeners' errors are. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners: Set<Listener<Events[Name]>> | undefined = this.#listeners[name];
    if (listeners === undefined) return;
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
