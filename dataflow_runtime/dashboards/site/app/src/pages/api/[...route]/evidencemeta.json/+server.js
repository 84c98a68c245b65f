// Stands in for Evidence's own, which lists the pages of a folder that this project does not have.
import { readFile, readdir } from 'node:fs/promises';
import preprocessor from '@evidence-dev/preprocess';
import { json } from '@sveltejs/kit';

export const prerender = true;

/** @type {import('./$types').EntryGenerator} */
export const entries = async () => {
	const files = await readdir('src/pages', { recursive: true });
	return files.filter((file) => file.endsWith('+page.md')).map((file) => ({ route: file.replace(/\/?\+page\.md$/, '') }));
};

/** @type {import('./$types').RequestHandler} */
export async function GET({ params: { route } }) {
	const page = await readFile(`src/pages/${route}/+page.md`, 'utf-8').catch(() => '');
	return json({ queries: preprocessor.extractQueries(preprocessor.injectPartials(page)) });
}
