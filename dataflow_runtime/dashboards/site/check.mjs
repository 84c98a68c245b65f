// Compiles every page and component as Evidence's build will, and prints a line of JSON for each that cannot be built.
// The build itself ends at the first of them. Runs in Evidence's application, as the build does.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { compile, preprocess } from 'svelte/compiler';

const OWN = /^src\/(pages|components)\/([^/]+)\//;
const packages = path.resolve('..', '..', 'node_modules');

/** What a file must not import: what does not exist, and a component of another workflow that it does not name itself. */
function wrongImport(code, original, file) {
	const [, , workflow] = OWN.exec(file);
	for (const [, name] of code.matchAll(/^\s*import\s(?:[^'"]*?\sfrom\s)?\s*['"]([^'"?]+)['"]/gm)) {
		const inPackage = /^(@[\w.-]+\/)?[\w-][\w.-]*/.exec(name)?.[0];
		let target;
		if (name.startsWith('$lib/')) target = path.join('src', 'components', name.slice('$lib/'.length));
		else if (name.startsWith('.')) target = path.join(path.dirname(file), name);
		else if (inPackage) target = path.join(packages, inPackage);
		else continue;
		const owner = OWN.exec(target)?.[2];
		if (owner && owner !== workflow && !original.includes(name)) {
			return `<${path.basename(name, '.svelte')}> is a component of ${owner}: import it to use it here`;
		}
		if (!existsSync(target)) return `cannot find ${name}, which it imports`;
	}
}

async function problemOf(file, groups) {
	const original = readFileSync(file, 'utf-8');
	const filename = path.resolve(file);
	try {
		const { code } = await preprocess(original, groups, { filename });
		const { warnings } = compile(code, { filename, generate: 'ssr' });
		return wrongImport(code, original, file) ?? warnings.find(({ code }) => code === 'missing-declaration')?.message;
	} catch (error) {
		return error.message.split('\n')[0];
	}
}

const { default: config } = await import(path.resolve('svelte.config.js'));
for (const entry of readdirSync('src', { withFileTypes: true, recursive: true })) {
	const file = path.relative('.', path.join(entry.parentPath ?? entry.path, entry.name));
	if (!OWN.test(file) || !/\.(md|svelte)$/.test(file)) continue;
	const message = await problemOf(file, config.preprocess);
	if (message) console.log(`[dataflow] ${JSON.stringify({ file: file.replaceAll(path.sep, '/'), message })}`);
}
