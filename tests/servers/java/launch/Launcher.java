/*
 * For tests only. Stands in for the launcher of Elasticsearch 8 and 9. The real one is a second Java program, not
 * published as an artifact, that starts the server in a child process and hands its settings over through a pipe; the
 * real server then also confines its plugins (security manager, entitlements). This one starts the node in its own
 * process with every module on the class path and confines nothing.
 *
 * It lives in Elasticsearch's package because what it calls is visible only there.
 */
package org.elasticsearch.bootstrap;

import java.lang.reflect.Method;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

public final class Launcher {
    public static void main(String[] arguments) {
        try {
            Node node = node();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node), "shutdown"));
            node.start();
            Thread.currentThread().join(); // a node has only daemon threads; the signal that ends it runs the hook
        } catch (Throwable failure) {
            // Threads of a half-built node would keep the process alive, and whoever waits for it would wait in vain.
            failure.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private static Node node() throws Exception {
        Path home = Path.of(System.getProperty("es.path.home"));
        Path config = Path.of(System.getProperty("es.path.conf"));
        LogConfigurator.registerErrorListener();
        BootstrapInfo.init();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            Settings.builder().put("path.home", home.toString()).build(),
            Map.of(),
            config,
            () -> "node-1"
        );
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        LogConfigurator.configure(environment, true);
        // No locked memory, no system call filter, no handler of console events.
        Elasticsearch.initializeNatives(environment.tmpDir(), false, false, false);
        Elasticsearch.initializeProbes();
        PluginsLoader plugins = PluginsLoader.createPluginsLoader(
            bundles("loadModulesBundles", environment.modulesDir()),
            bundles("loadPluginsBundles", environment.pluginsDir()),
            Map.of(),
            false
        );
        return new Node(environment, plugins);
    }

    /** Takes the folder alone in 8.19, and a flag "stateless" behind it in 9.5. */
    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> bundles(String name, Path folder) throws Exception {
        for (Method method : PluginsLoader.class.getMethods()) {
            if (method.getName().equals(name)) {
                Object found = method.getParameterCount() == 1 ? method.invoke(null, folder) : method.invoke(null, folder, false);
                return (Set<PluginBundle>) found;
            }
        }
        throw new NoSuchMethodException(name);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception failure) {
            failure.printStackTrace();
        }
    }
}
