// A TCP proxy that cuts: each connection after a number of bytes in a direction, as a seed says.

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Where to cut a connection: after so many bytes up or down, with a reset or politely. */
export interface Cut {
  direction: "up" | "down";
  bytes: number;
  isReset: boolean;
}

/** Passes on what it is given until a connection's time has come; `plan` is asked for every connection. */
export class CuttingProxy {
  cuts = 0;
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listen on a free port of loopback. `plan` null: this connection is left alone. */
  static async start(target: URL, plan: () => Cut | null): Promise<CuttingProxy> {
    const server = createServer();
    const proxy = new CuttingProxy(server);
    server.on("connection", (near) => proxy.#join(near, connect(Number(target.port), target.hostname), plan()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, far: Socket, cut: Cut | null): void {
    this.connections += 1;
    let left = cut?.bytes ?? Number.POSITIVE_INFINITY;
    const pass = (from: Socket, to: Socket, direction: Cut["direction"]) => {
      this.#sockets.add(from);
      from.setNoDelay();
      from.on("data", (data: Buffer) => {
        if (cut?.direction !== direction) to.write(data);
        else {
          if (left > 0) to.write(data.subarray(0, left)); // half a frame arrives too
          left -= data.length;
          if (left <= 0) this.#sever(near, far, cut.isReset);
        }
      });
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    };
    pass(near, far, "up");
    pass(far, near, "down");
  }

  #sever(near: Socket, far: Socket, isReset: boolean): void {
    this.cuts += 1;
    for (const socket of [near, far]) {
      if (isReset) socket.resetAndDestroy();
      else socket.destroy();
    }
  }
}
