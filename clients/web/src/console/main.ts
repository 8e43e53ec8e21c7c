document.querySelector("terminal-console")?.append("Terminal Service");
