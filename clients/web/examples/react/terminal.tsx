// React 19 sets properties and attributes of custom elements by itself; events are listened to through a ref.
import { useEffect, useRef } from "react";
import "../../src/element/index.ts";

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "terminal-session": HTMLAttributes<HTMLElement> & RefAttributes<HTMLElement> & { src: string; session: string };
    }
  }
}

interface Props {
  src: string;
  session: string;
  onState: (state: string) => void;
}

export function Terminal({ src, session, onState }: Props) {
  const element = useRef<HTMLElement>(null);
  useEffect(() => {
    const terminal = element.current;
    const listener = (event: Event) => onState((event as CustomEvent<{ state: string }>).detail.state);
    terminal?.addEventListener("terminal-state", listener);
    return () => terminal?.removeEventListener("terminal-state", listener);
  }, [onState]);
  return <terminal-session ref={element} src={src} session={session} />;
}
