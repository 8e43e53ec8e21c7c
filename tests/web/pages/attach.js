// What somebody writes who knows xterm.js and nothing of this service.
const terminal = new Terminal({ rows: 24, cols: 80 });
terminal.open(document.getElementById("terminal"));
const socket = new WebSocket(new URLSearchParams(location.search).get("socket"), ["terminal.v1.raw"]);
terminal.loadAddon(new AttachAddon.AttachAddon(socket));
terminal.focus();
