/** Begins to record spans where the settings say so; whoever has none loads none of it. */
import type { Export, TracingSettings } from './export.ts'

export type { TracingSettings } from './export.ts'

/** `stop` sends what is held; call it last. */
export async function startTracing(
  settings: TracingSettings | undefined,
  service: string,
  warn: (text: string) => void,
): Promise<Export> {
  if (settings === undefined) return { stop: async () => undefined }
  const { startExport } = await import('./export.ts')
  return startExport(settings, service, warn)
}
