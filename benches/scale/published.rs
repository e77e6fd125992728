//! What others published of `import torch`, cold, in seconds. Other machines, other versions, other tasks a node.

/// A line of published figures: nodes and seconds.
pub struct Published {
    pub name: &'static str,
    pub source: &'static str,
    pub points: &'static [(u32, f64)],
}

pub const PUBLISHED: &[Published] = &[
    Published {
        name: "Copper, Aurora",
        source: "12 tasks a node; 8,192 nodes from training material",
        points: &[(2, 52.0), (8, 64.0), (64, 59.0), (512, 67.0), (1_024, 91.0), (2_048, 83.0), (8_192, 60.0)],
    },
    Published {
        name: "Lustre, Aurora",
        source: "the same without Copper",
        points: &[
            (2, 49.0),
            (8, 34.0),
            (64, 38.0),
            (512, 80.0),
            (1_024, 128.0),
            (2_048, 249.0),
            (8_192, 1_020.0),
        ],
    },
    Published {
        name: "Spindle, Frontier",
        source: "8 tasks a node",
        points: &[(1, 18.0), (8, 22.0), (64, 28.0), (512, 57.0), (1_024, 83.0)],
    },
    Published {
        name: "sbcast, Frontier",
        source: "staging an archive, unpacking it, first import",
        points: &[(1, 52.0), (8, 56.0), (64, 80.0), (512, 113.0), (1_024, 126.0)],
    },
    Published {
        name: "Lustre, Frontier",
        source: "neither",
        points: &[(1, 25.0), (8, 23.0), (64, 24.0), (512, 64.0), (1_024, 105.0)],
    },
];

impl Published {
    /// The figure for so many nodes, if there is one.
    pub fn at(&self, n_nodes: u32) -> Option<f64> {
        self.points.iter().find(|(nodes, _)| *nodes == n_nodes).map(|(_, seconds)| *seconds)
    }
}
