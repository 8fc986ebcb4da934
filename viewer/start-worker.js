/** Starts the worker; a page that holds all modules itself has another function of this name. */
export const startWorker = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
