// Stands in for Evidence's own. Tells the build which pages fail or show an error: Evidence says so to the reader only.
import { building } from '$app/environment';
import { base } from '$app/paths';
import { escaped, notice } from '$lib/dataflow_site/notices.js';

const failures = new Map();

/** @type {import('@sveltejs/kit').HandleServerError} */
export const handleError = ({ error, event }) => {
	const message = error?.message ?? String(error);
	failures.set(event.url.pathname, message);
	return { message };
};

/** @type {import('@sveltejs/kit').Handle} */
export async function handle({ event, resolve }) {
	const { pathname } = event.url;
	const response = await resolve(event, {
		transformPageChunk: ({ html }) => {
			if (building) for (const text of errorBoxes(html)) notice(pathname, { message: text });
			return html.replace('/*loading*/', '');
		}
	});
	const failure = failures.get(pathname);
	if (!building || response.status < 500 || failure === undefined) return response;
	// Without an answer here, the build would go on without this page, and its old address would lead nowhere.
	notice(pathname, { message: failure, unrendered: true });
	const headers = new Headers(response.headers);
	headers.set('content-type', 'text/html');
	return new Response(brokenPage(failure), { headers });
}

const brokenPage = (message) => `<!doctype html>
<html lang="en">
	<head>
		<meta charset="utf-8" />
		<meta name="viewport" content="width=device-width, initial-scale=1" />
		<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
		<title>Broken page</title>
		<style>
			:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
			main { max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem; }
		</style>
	</head>
	<body>
		<main>
			<h1>This page is broken</h1>
			<p>It fails when it is rendered. The owner needs to fix: <code>${escaped(message)}</code></p>
			<p><a href="${base}/">All workflows</a></p>
		</main>
	</body>
</html>`;

const TAG = /<(\/?)([a-z][\w-]*)((?:"[^"]*"|[^">])*)>([^<]*)/g;
const VOID = /^(br|hr|img|input|link|meta|path|line|circle|rect)$/;
const CHARACTERS = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };

/** The texts of the elements in the colours in which Evidence shows an error. */
function errorBoxes(html) {
	const found = [];
	let depth = 0;
	for (const [, end, tag, attributes, text] of html.matchAll(TAG)) {
		if (depth) {
			if (!VOID.test(tag) && !attributes.endsWith('/')) depth += end ? -1 : 1;
			if (depth) found[found.length - 1] += ` ${text}`;
		} else if (/bg-negative\/10[^]*border-negative\/50|border-negative\/50[^]*bg-negative\/10/.test(attributes)) {
			depth = 1;
			found.push(text);
		}
	}
	return found.map((text) => text.replace(/&(lt|gt|quot|#39|amp);/g, (entity) => CHARACTERS[entity]));
}
