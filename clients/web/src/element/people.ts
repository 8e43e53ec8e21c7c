// Who is here: names, initials and colours of the viewers. Pure.
import type { Viewer } from "../client/types.ts";

export interface Person {
  clientId: string;
  name: string;
  initials: string;
  /** Dark enough for white letters upon it. */
  colour: string;
  isSelf: boolean;
  isWriter: boolean;
  answers: boolean;
}

/** Return the viewers as they are shown, oneself first. */
export function people(viewers: readonly Viewer[], self: string, responder: string | null): Person[] {
  const shown = viewers.map((viewer) => ({
    clientId: viewer.client_id,
    name: nameOf(viewer),
    initials: initials(nameOf(viewer)),
    colour: colourOf(viewer.user || viewer.client_id),
    isSelf: viewer.client_id === self,
    isWriter: viewer.role !== "viewer",
    answers: viewer.client_id === responder,
  }));
  return shown.sort((one, other) => Number(other.isSelf) - Number(one.isSelf));
}

/** "ada (you), types, answers the program's questions". */
export function describe(person: Person): string {
  const what = person.isWriter ? "may type" : "looks on";
  const who = person.isSelf ? `${person.name} (you)` : person.name;
  return `${who}, ${what}${person.answers ? ", answers the program's questions" : ""}`;
}

/** The name of who has a client id, as others see it; "you" for oneself, empty for nobody who is here. */
export function whoIs(viewers: readonly Viewer[], clientId: string | null, self: string): string {
  if (clientId === self) return "you";
  const viewer = viewers.find((candidate) => candidate.client_id === clientId);
  return viewer ? nameOf(viewer) : "";
}

function nameOf(viewer: Viewer): string {
  return viewer.user || `guest ${viewer.client_id.slice(0, 4)}`;
}

function initials(name: string): string {
  const words = name.split(/[\s._@-]+/u).filter((word) => word !== "");
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0] ?? "") : [...name].slice(0, 2);
  return letters.join("").toUpperCase();
}

/** The same name has the same colour everywhere. */
function colourOf(name: string): string {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return `hsl(${hash % 360} 55% 34%)`;
}
