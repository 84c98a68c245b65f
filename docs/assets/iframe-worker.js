// Browsers refuse workers on pages that are opened as files. There, run a worker's script in a
// hidden frame instead, so that the search works without a server.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.onmessage = this.onerror = this.onmessageerror = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      this.loaded = new Promise((resolve, reject) => {
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => resolve(inside);
        script.onerror = reject;
        inside.document.body.append(script);
      });
      this.loaded.catch((error) => this.onerror?.(error));
    }

    postMessage(data) {
      this.loaded.then((inside) => inside.onmessage?.({ data }), () => {});
    }

    terminate() {
      this.frame.remove();
    }
  };
}
