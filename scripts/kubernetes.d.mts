/** Types of kubernetes.mjs. */

/** Path of each program, or undefined while one is missing. */
export declare function kubernetesPrograms():
  | Record<'kube-apiserver' | 'kube-scheduler' | 'etcd' | 'kwok', string>
  | undefined

/** Path of kubelet and pause, or undefined while one is missing. */
export declare function kubeletPrograms(): Record<'kubelet' | 'pause', string> | undefined

/**
 * Builds what is missing, within 45 minutes if not told otherwise, and says what is there. `node` (default true) = also
 * what real Pods need.
 */
export declare function provide(options?: { limitMs?: number; node?: boolean }): Promise<string>
