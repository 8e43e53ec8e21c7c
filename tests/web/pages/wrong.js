console.error("an error told");
fetch("/missing");
fetch("http://127.0.0.2:9/elsewhere").catch(() => {});
throw new TypeError("nobody catches this");
