// Stands in for Evidence's own layout (40.1.8), which starts DuckDB and opens every table of every workflow on every page.
// Here the browser shows what the build computed; the first query that goes beyond it starts DuckDB, and opens the tables
// that it names.
import { browser, building, dev } from '$app/environment';
import {
	arrowTableToJSON,
	initDB,
	query as runQuery,
	setParquetURLs,
	tableFromIPC,
	updateSearchPath
} from '@evidence-dev/universal-sql/client-duckdb';
import { profile } from '@evidence-dev/component-utilities/profile';
import { setTrackProxy } from '@evidence-dev/sdk/usql';
import { addBasePath } from '@evidence-dev/sdk/utils/svelte';
import { notice } from '$lib/dataflow_site/notices.js';
import md5 from 'blueimp-md5';

export const ssr = !dev;
export const prerender = true;
export const trailingSlash = 'always';

const SYSTEM_ROUTES = ['/settings', '/explore'];

const json = async (path, fetch, otherwise) => {
	const answer = await fetch(addBasePath(path));
	return answer.ok ? await answer.json() : otherwise;
};

/** The files of all tables: a list a schema. */
async function readManifest() {
	if (browser) return (await json('/data/manifest.json', fetch, {})).renderedFiles ?? {};
	const { readFile } = await import('fs/promises');
	return JSON.parse(await readFile('./static/data/manifest.json', 'utf-8').catch(() => '{}')).renderedFiles ?? {};
}

// `dev` loads the whole page again when this file changes: it changes with the rows.
if (import.meta.env.DEV) import('$lib/dataflow_site/tables.json');

let manifest;
let opened = {};

const tableOf = (file) => file.split(/[\\/]/).at(-1).replace(/\.parquet$/, '');
const names = (sql, name) => new RegExp(`(?<![\\w$])${name}(?![\\w$])`, 'i').test(sql);

/** Open the tables that a query names: those of the page's own workflow, and of others where it names these too. */
async function openTables(sql, own, everything) {
	await profile(initDB);
	const files = await (manifest ??= readManifest());
	const wanted = {};
	for (const [schema, tables] of Object.entries(files)) {
		const chosen = tables.filter((file) => everything || ((schema === own || names(sql, schema)) && names(sql, tableOf(file))));
		const missing = chosen.filter((file) => !opened[schema]?.includes(file));
		if (!missing.length) continue;
		wanted[schema] = missing;
		opened[schema] = [...(opened[schema] ?? []), ...missing];
	}
	await profile(setParquetURLs, wanted, true);
	// A name without its schema is a table of the page's own workflow.
	const schemas = Object.keys(opened);
	if (schemas.length) await updateSearchPath([...schemas].sort((one, other) => (other === own) - (one === own)));
}

const serverTables = browser ? undefined : openTables('', '', true);
// One query after another: each opens its tables before it runs.
let turn = Promise.resolve();

async function inBrowser(sql, own) {
	const result = turn.then(async () => {
		await openTables(sql, own, own === 'explore');
		return runQuery(sql);
	});
	turn = result.catch(() => undefined);
	return result;
}

function onServer(sql, own, options) {
	try {
		const schemas = Object.keys(opened);
		if (own in opened) updateSearchPath([own, ...schemas.filter((schema) => schema !== own)]);
		return runQuery(sql, options);
	} catch (error) {
		// Evidence asks for the columns of a query before it asks for its rows: one failure, two queries.
		const query = options.query_name?.replace(/_(columns|length|data)$/, '');
		if (building) notice(options.path, { message: String(error.message ?? error), query });
		throw error;
	}
}

/** The results of the page's queries, as the build computed them. */
async function prerendered(routeHash, paramsHash, fetch) {
	const hashes = await json(`/api/${routeHash}/${paramsHash}/all-queries.json`, fetch, {});
	const results = await Promise.all(
		Object.entries(hashes).map(async ([name, hash]) => {
			const answer = await fetch(addBasePath(`/api/prerendered_queries/${hash}.arrow`));
			return answer.ok ? [name, arrowTableToJSON(await tableFromIPC(answer))] : null;
		})
	);
	return Object.fromEntries(results.filter(Boolean));
}

/** @type {Map<string, { inputs: Record<string, string> }>} */
const rehearsals = new Map();

/** @satisfies {import("./$types").LayoutLoad} */
export const load = async ({ fetch, route, params, url }) => {
	const [formats, pagesManifest, evidencemeta] = await Promise.all([
		json('/api/customFormattingSettings.json/GET.json', fetch, {}),
		json('/api/pagesManifest.json', fetch, {}),
		json(`/api/${route.id}/evidencemeta.json`, fetch, { queries: [] }).catch(() => ({ queries: [] }))
	]);
	const own = (route.id ?? '').split('/')[1];
	const routeHash = md5(route.id);
	const paramsHash = md5(
		Object.entries(params)
			.sort()
			.map(([key, value]) => `${key}\x1F${value}`)
			.join('\x1E')
	);
	// The page of this address is not part of the application: it could not be rendered.
	const { pages: broken } = browser && !dev ? await json('/dataflow_site/broken.json', fetch, { pages: [] }) : { pages: [] };
	if (broken.includes(route.id)) {
		location.assign(url);
		await new Promise(() => {});
	}
	const isUserPage = route.id && SYSTEM_ROUTES.every((system) => !route.id.startsWith(system));

	const rehearsal = rehearsals.get(url.pathname);
	const inputs =
		rehearsal?.inputs ?? setTrackProxy({ label: '', value: '(SELECT NULL WHERE 0 /* An Input has not been set */)' });
	if ((dev || building) && !browser && !rehearsal) {
		// The first rendering sets the inputs to their defaults, the second one queries with them.
		rehearsals.set(url.pathname, { inputs });
		await fetch(url);
		rehearsals.delete(url.pathname);
	}
	if (!browser) await serverTables;
	if (!browser && dev) await initDB();
	const data = browser && isUserPage && !dev && evidencemeta.queries.length ? await prerendered(routeHash, paramsHash, fetch) : {};

	/** @type {App.PageData["__db"]["query"]} */
	function query(sql, { query_name, callback = (rows) => rows } = {}) {
		if (browser) return inBrowser(sql, own).then(callback);
		const options = { route_hash: routeHash, additional_hash: paramsHash, query_name, prerendering: building, path: url.pathname };
		return callback(onServer(sql, own, options));
	}

	// The titles of the breadcrumbs.
	let tree = pagesManifest;
	for (const part of (route.id ?? '').split('/').slice(1)) {
		tree = tree.children?.[part];
		if (!tree) break;
		tree.title = tree.frontMatter?.title ?? tree.title;
	}

	return /** @type {App.PageData} */ ({
		__db: {
			query,
			load: () => openTables('', own, true),
			async updateParquetURLs(changed) {
				// A source was read again while its page is open.
				manifest = JSON.parse(changed).renderedFiles;
				opened = {};
			}
		},
		inputs,
		data,
		customFormattingSettings: formats,
		isUserPage,
		evidencemeta,
		pagesManifest
	});
};
