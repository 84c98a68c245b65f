import { base } from '$app/paths';

export const escaped = (text) => text.replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`);

const words = (text) => text.split(/\s+/).filter(Boolean).join(' ');
const told = new Map();

/** Tell dataflow_runtime.dashboards.build what is wrong with a page: a line of JSON. */
export function notice(path, { message, query, unrendered }) {
	const page = path.slice(base.length).split('/').filter(Boolean);
	const file = ['src', 'pages', ...page, '+page.md'].join('/');
	const said = told.get(file) ?? [];
	// A chart of a query that failed shows the query's message once more.
	if (!query && said.some((earlier) => words(message).includes(earlier))) return;
	told.set(file, [...said, words(message)]);
	console.error(`\n[dataflow] ${JSON.stringify({ file, message, query, unrendered })}`);
}
