/*
 * For tests only. The plugin class of the module analysis-common that stands in for the real one in Elasticsearch 9.
 * It also registers the handler of "GET /", which stands in for the module rest-root. Its twin in ../elasticsearch8
 * differs in the parameters of getRestHandlers only.
 */
package difylog.standin;

import java.util.Collection;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.rest.RestHandler;

public class StandInModule extends StandInAnalysis implements ActionPlugin {
    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices services,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> clusterSupports
    ) {
        return List.of(new RootHandler(cluster));
    }
}
